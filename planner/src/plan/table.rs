//! Plain text tables: columns aligned, numbers to the right, no colour.

/// Rows of cells under a head; every row has as many cells as the head.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len(), "a cell for every column");
        self.rows.push(cells);
    }

    /// Lines indented by two; the first column is text, the others are aligned to the right. Columns are two spaces
    /// apart, or one where they would not fit into `most` otherwise.
    pub(super) fn lines(&self, most: usize) -> Vec<String> {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.head[column].chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let wide = widths.iter().sum::<usize>() + 2 * widths.len() <= most;
        let gap = if wide { "  " } else { " " };
        let line = |cells: &[String]| {
            let mut out = String::from(" ");
            for (column, cell) in cells.iter().enumerate() {
                let width = widths[column];
                if column == 0 {
                    out.push_str(&format!(" {cell:<width$}"));
                } else {
                    out.push_str(&format!("{gap}{cell:>width$}"));
                }
            }
            out.trim_end().to_owned()
        };
        let head: Vec<String> = self.head.iter().map(|&cell| cell.to_owned()).collect();
        std::iter::once(line(&head)).chain(self.rows.iter().map(|row| line(row))).collect()
    }
}

/// [`wrapped_under`] the start of the text.
pub(super) fn wrapped(first: &str, text: &str, width: usize) -> Vec<String> {
    wrapped_under(first, first.chars().count(), text, width)
}

/// `text` broken at spaces into lines of at most `width` characters, the first after `first`, the others after
/// `indent` spaces.
pub(super) fn wrapped_under(first: &str, indent: usize, text: &str, width: usize) -> Vec<String> {
    let indent = " ".repeat(indent);
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    let room = width.saturating_sub(indent.chars().count()).max(1);
    for word in text.split_whitespace().flat_map(|word| pieces(word, room)) {
        let fits = line.chars().count() + usize::from(!empty) + word.chars().count() <= width;
        if !empty && !fits {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// A word that is longer than a line, such as an address, in pieces that end at a slash where there is one.
fn pieces(word: &str, room: usize) -> Vec<&str> {
    let mut rest = word;
    let mut out = Vec::new();
    while rest.chars().count() > room {
        let end = rest.char_indices().nth(room).map_or(rest.len(), |(index, _)| index);
        let cut = rest[..end].rfind('/').map_or(end, |slash| slash + 1);
        out.push(&rest[..cut]);
        rest = &rest[cut..];
    }
    out.push(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["stage", "usd"]);
        table.row(vec!["pretrain".into(), "6,400.00".into()]);
        table.row(vec!["ft".into(), "9.00".into()]);
        assert_eq!(table.lines(20), ["  stage          usd", "  pretrain  6,400.00", "  ft            9.00"]);
        assert_eq!(table.lines(19), ["  stage         usd", "  pretrain 6,400.00", "  ft           9.00"]);
    }

    #[test]
    fn long_text_is_wrapped_under_its_start() {
        let lines = wrapped("- ", "one two three four", 10);
        assert_eq!(lines, ["- one two", "  three", "  four"]);
        assert!(lines.iter().all(|line| line.len() <= 10));
        assert_eq!(
            wrapped("- ", "ab/cdef/ghi xyzxyzxyz", 8),
            ["- ab/", "  cdef/", "  ghi", "  xyzxyz", "  xyz"]
        );
    }
}
