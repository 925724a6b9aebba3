//! Tables of pictures and captions, as other programs write them and as nobody should.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::ImageFormat;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use shoestring_data::{BadCause, DataError, Loader};
use shoestring_planner::recipe::DataSource;
use shoestring_planner::units::Samples;

use crate::common::{architecture, picture, stage};

const WRITTEN: [&str; 2] = ["pandas.parquet", "polars.parquet"];

fn written(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)).unwrap()
}

fn list(path: &Path, image: &str, caption: &str) -> DataSource {
    let path = path.to_string_lossy().into_owned();
    DataSource::List { path, image_column: image.into(), caption_column: caption.into() }
}

fn open(path: &Path) -> Result<Loader, DataError> {
    Loader::open(&list(path, "filepath", "title"), &stage(), &architecture(), 7, Samples(100))
}

fn refused(result: Result<Loader, DataError>) -> (String, String) {
    let error = result.err().unwrap();
    (error.to_string(), error.hint().unwrap_or_default())
}

/// A folder with a green picture `x.png`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.png"), picture(ImageFormat::Png, 20, 18, [0, 200, 0])).unwrap();
    folder
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A Parquet file with these rows, in one row group.
fn parquet_file(path: &Path, rows: &[(&str, Option<&[u8]>)]) {
    let schema =
        parse_message_type("message list { required binary filepath (UTF8); optional binary title (UTF8); }");
    let out = fs::File::create(path).unwrap();
    // Statistics would repeat the longest values.
    let properties = WriterProperties::builder()
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .set_dictionary_page_size_limit(1 << 30)
        .set_compression(parquet::basic::Compression::SNAPPY);
    let mut writer =
        SerializedFileWriter::new(out, Arc::new(schema.unwrap()), Arc::new(properties.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let paths: Vec<ByteArray> = rows.iter().map(|(path, _)| ByteArray::from(*path)).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&paths, None, None).unwrap();
    column.close().unwrap();
    let titles: Vec<ByteArray> =
        rows.iter().filter_map(|(_, title)| title.map(|title| ByteArray::from(title.to_vec()))).collect();
    let defined: Vec<i16> = rows.iter().map(|(_, title)| i16::from(title.is_some())).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&titles, Some(&defined), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

/// Written by pandas 3.1 (pyarrow 26, snappy) and by polars 2.1 (zstd), beside columns of other kinds.
#[test]
fn parquet_lists_are_read_as_tables_of_text_are() {
    let folder = folder();
    let text = file(
        &folder,
        "a.csv",
        "id,title,filepath\n1,\"green, quite\",x.png\n2,,x.png\n3,gone,y.png\n4,,x.png\n",
    );
    let expected = open(&text).unwrap().with_tolerance(0.9);
    let batch = expected.batch(0, 4).unwrap();
    let counts = expected.counts();
    assert!(
        counts.bad[&BadCause::EmptyCaption] >= 2 && counts.bad[&BadCause::MissingImage] >= 1,
        "{counts:?}"
    );
    for name in WRITTEN {
        let loader = open(&file(&folder, name, written(name))).unwrap().with_tolerance(0.9);
        assert_eq!(loader.epoch_samples(), Samples(4), "{name}");
        assert_eq!(loader.batch(0, 4).unwrap(), batch, "{name}");
        assert_eq!(loader.counts(), counts, "{name}");
    }
}

#[test]
fn parquet_lists_say_which_columns_there_are() {
    let folder = folder();
    let open = |path: &Path, image: &str, caption: &str| {
        refused(Loader::open(&list(path, image, caption), &stage(), &architecture(), 7, Samples(100)))
    };
    let path = file(&folder, "a.parquet", written("pandas.parquet"));
    let (error, hint) = open(&path, "filename", "title");
    assert!(error.contains("a.parquet: no column `filename`"), "{error}");
    assert_eq!(hint, "the columns are id, title, filepath, kind, when");
    let (error, _) = open(&path, "filepath", "id");
    assert!(error.contains("column `id` holds no texts"), "{error}");
    let path = file(&folder, "b.parquet", written("polars.parquet"));
    let (error, hint) = open(&path, "filepath", "words.list.element");
    assert!(error.contains("holds no texts") && hint.contains("words"), "{error} {hint}");
    let (error, hint) = open(&file(&folder, "c.parquet", written("gzip.parquet")), "filepath", "title");
    assert!(error.contains("compression is not read here"), "{error}");
    assert!(hint.contains("snappy"), "{hint}");
}

#[test]
fn every_damage_to_a_parquet_list_is_an_error_and_never_a_panic() {
    let folder = folder();
    for name in WRITTEN {
        let whole = written(name);
        for length in 0..whole.len() {
            let (error, hint) = refused(open(&file(&folder, "cut.parquet", &whole[..length])));
            assert!(error.contains("not a Parquet file, or damaged"), "{name} cut to {length}: {error}");
            assert!(!hint.is_empty() && error.len() < 500, "{error}");
        }
        for at in 0..whole.len() {
            for bit in [1, 0x10, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                if let Err(error) = open(&file(&folder, "flipped.parquet", &bytes)) {
                    assert!(error.to_string().len() < 500 && error.hint().is_some(), "{error}");
                }
            }
        }
    }
    let (error, _) = refused(open(&file(&folder, "text.parquet", "filepath,title\nx.png,green\n")));
    assert!(error.contains("not a Parquet file"), "{error}");
}

#[test]
fn a_parquet_list_that_unpacks_without_bound_is_refused() {
    let folder = folder();
    let (path, long) = (folder.path().join("bomb.parquet"), vec![b'a'; 1 << 20]);
    parquet_file(&path, &[("x.png", Some(&long[..])); 200]);
    assert!(fs::metadata(&path).unwrap().len() < 1 << 18, "a small file");
    let (error, _) = refused(open(&path));
    assert!(error.contains("unpack to more than"), "{error}");
}

#[test]
fn captions_of_tables_are_bounded_and_text() {
    let folder = folder();
    let long = "a".repeat((1 << 20) + 1);
    let text = file(&folder, "a.csv", format!("filepath,title\nx.png,{long}\nx.png,green\n"));
    let latin = file(&folder, "b.csv", b"filepath,title\nx.png,caf\xe9\nx.png,green\n");
    let (parquet, encoded) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    parquet_file(&parquet, &[("x.png", Some(long.as_bytes())), ("x.png", Some(b"green"))]);
    parquet_file(&encoded, &[("x.png", Some(b"caf\xe9")), ("x.png", Some(b"green"))]);
    for (path, detail) in
        [(text, "1048577 bytes"), (latin, "not UTF-8"), (parquet, "1048577 bytes"), (encoded, "not UTF-8")]
    {
        let loader = open(&path).unwrap().with_tolerance(0.9);
        loader.batch(0, 2).unwrap();
        let counts = loader.counts();
        assert!(counts.bad[&BadCause::UnreadableCaption] >= 1, "{counts:?}");
        assert!(counts.examples[0].contains(detail), "{counts:?}");
    }
}

#[test]
fn a_line_of_a_table_without_an_end_is_not_read_into_memory() {
    let folder = folder();
    let endless = format!("filepath,title\nx.png,\"{}", "a\n".repeat(10 << 20));
    let (error, _) = refused(open(&file(&folder, "a.csv", endless)));
    assert!(error.contains("a line of more than 16 MiB"), "{error}");
}

#[test]
fn lists_of_addresses_are_refused_with_what_to_do() {
    let folder = folder();
    let path = folder.path().join("laion.parquet");
    parquet_file(&path, &[("https://example.org/1.jpg", Some(b"a dog")), ("x.png", Some(b"green"))]);
    let (error, _) = refused(open(&path));
    assert!(error.contains("1 missing image") && error.contains("img2dataset"), "{error}");
}
