//! Plain tables: columns as wide as their content, colors only on a terminal.

/// How a word is colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Good.
    Good,
    /// Worth a look.
    Warn,
    /// Bad.
    Bad,
    /// Less important.
    Faint,
}

impl Tone {
    /// The tone of a state word of the interface.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "ok" | "ready" | "returned" | "synced" | "connected" | "countersigned" | "rooted" => Self::Good,
            "degraded" | "warn" | "acknowledged" | "shelved" | "unsynced" | "unseen" => Self::Warn,
            "lost" | "failed" | "fail" | "fault" | "full" | "suspect" | "unacknowledged" | "disputed"
            | "not connected" => Self::Bad,
            "skip" => Self::Faint,
            _ => Self::Plain,
        }
    }

    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("1;31"),
            Self::Faint => Some("2"),
        }
    }
}

/// Colors a text, or not.
pub(crate) fn paint(text: &str, tone: Tone, color: bool) -> String {
    match tone.code().filter(|_| color) {
        Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        None => text.to_owned(),
    }
}

/// What the daemon passes on from devices and HQ must not control the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Columns that a terminal takes for a text: East Asian wide characters take two.
fn width(text: &str) -> usize {
    let wide = |c: char| matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF);
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads; a head that begins with `>` is right-aligned.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    /// The text, or `empty` when there are no rows.
    pub(crate) fn draw(&self, color: bool, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let names: Vec<&str> = self.heads.iter().map(|head| head.trim_start_matches('>')).collect();
        let column =
            |at: usize| self.rows.iter().filter_map(move |row| row.get(at)).map(|cell| width(cell)).max();
        let widths: Vec<usize> =
            names.iter().enumerate().map(|(at, name)| width(name).max(column(at).unwrap_or(0))).collect();
        let mut text = String::new();
        let heads: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.line(&heads, &widths, &mut text, |cell| paint(cell, Tone::Faint, color));
        for row in &self.rows {
            self.line(row, &widths, &mut text, |cell| paint(cell, Tone::of(cell), color));
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize], text: &mut String, paint: impl Fn(&str) -> String) {
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let gap = " ".repeat(widths.get(at).map_or(0, |column| column.saturating_sub(width(cell))));
            let right = self.heads.get(at).is_some_and(|head| head.starts_with('>'));
            let lead = if at == 0 { "" } else { "  " };
            line.push_str(lead);
            match right {
                true => line.push_str(&format!("{gap}{}", paint(cell))),
                false => line.push_str(&format!("{}{gap}", paint(cell))),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_wide_characters_and_control_characters_are_removed() {
        let mut table = Table::new(&["NAME", ">QTY"]);
        table.row(["包子".into(), "1.000".into()]);
        table.row(["a\u{1b}[31m".into(), "12.500".into()]);
        assert_eq!(table.draw(false, "none"), "NAME       QTY\n包子     1.000\na [31m  12.500\n");
        assert_eq!(Table::new(&["A"]).draw(false, "none"), "none\n");
    }

    #[test]
    fn colors_do_not_change_the_columns() {
        let mut table = Table::new(&["STATE", "ID"]);
        table.row(["ok".into(), "a".into()]);
        assert_eq!(
            table.draw(true, ""),
            "\u{1b}[2mSTATE\u{1b}[0m  \u{1b}[2mID\u{1b}[0m\n\u{1b}[32mok\u{1b}[0m     a\n"
        );
    }
}
