//! Tables that are built in, deflated; `assets/SOURCES.md` says where they come from.

/// The text of an embedded table. The tables are part of the program, so one that cannot be read is a
/// mistake in the program.
pub(super) fn unpack(deflated: &[u8]) -> String {
    miniz_oxide::inflate::decompress_to_vec(deflated)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| unreachable!("an embedded table is whole"))
}
