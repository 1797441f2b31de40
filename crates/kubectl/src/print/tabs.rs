//! [`Tabs`]: text in columns. Cells end with a tab; a column's width is that of its widest cell within a run of
//! consecutive lines that have it, so unrelated blocks of text do not push each other around (elastic tab stops).

/// Aligns cells.
#[derive(Clone, Debug)]
pub(crate) struct Tabs {
    min_width: usize,
    padding: usize,
    /// Keep widths from one flush to the next, for watches.
    remember: Option<Vec<usize>>,
    lines: Vec<Vec<String>>,
}

impl Tabs {
    /// As tables of `get` are set.
    pub(crate) fn table() -> Self {
        Self { min_width: 6, padding: 3, remember: Some(Vec::new()), lines: Vec::new() }
    }

    /// As `describe` is set.
    pub(crate) fn describe() -> Self {
        Self { min_width: 0, padding: 2, remember: None, lines: Vec::new() }
    }

    /// As lists of other commands are set.
    pub(crate) fn list() -> Self {
        Self { remember: None, ..Self::table() }
    }

    /// Adds text; lines and cells are split at line feeds and tabs.
    pub(crate) fn write(&mut self, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        for line in text.split('\n') {
            self.lines.push(line.split('\t').map(str::to_owned).collect());
        }
    }

    /// Adds a line of cells.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.lines.push(cells.into_iter().map(Into::into).collect());
    }

    /// Takes what was added, aligned.
    pub(crate) fn flush(&mut self) -> String {
        let lines = std::mem::take(&mut self.lines);
        let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len()]).collect();
        for column in 0..columns {
            let mut start = 0;
            while start < lines.len() {
                let has = |line: &Vec<String>| line.len() > column + 1;
                if !has(&lines[start]) {
                    start += 1;
                    continue;
                }
                let length = lines[start..].iter().take_while(|line| has(line)).count();
                let block = start..start + length;
                let content = lines[block.clone()].iter().map(|line| line[column].chars().count()).max();
                let mut width = (content.unwrap_or(0) + self.padding).max(self.min_width);
                if let Some(known) = &mut self.remember {
                    if known.len() <= column {
                        known.resize(column + 1, 0);
                    }
                    width = width.max(known[column]);
                    known[column] = width;
                }
                widths[block].iter_mut().for_each(|line| line[column] = width);
                start += length;
            }
        }
        let mut out = String::new();
        for (line, widths) in lines.iter().zip(&widths) {
            for (at, cell) in line.iter().enumerate() {
                out.push_str(cell);
                if at + 1 < line.len() {
                    let pad = widths[at].saturating_sub(cell.chars().count());
                    out.extend(std::iter::repeat_n(' ', pad));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_within_blocks() {
        let mut tabs = Tabs::table();
        tabs.write("NAME\tREADY\tAGE\nweb-1\t1/1\t5s\nx\t0/1\t10m\n");
        assert_eq!(tabs.flush(), "NAME    READY   AGE\nweb-1   1/1     5s\nx       0/1     10m\n");
        tabs.write("y\t1/1\t1s");
        assert_eq!(tabs.flush(), "y       1/1     1s\n", "widths are remembered");
        let mut tabs = Tabs::describe();
        tabs.write("Name:\tweb\nVery long label:\tx\nalone\nA:\tb");
        assert_eq!(tabs.flush(), "Name:             web\nVery long label:  x\nalone\nA:  b\n");
    }
}
