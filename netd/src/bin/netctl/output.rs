//! How does an answer look: a table for people, one JSON document for programs?

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use netd::api::records::ContainerPublishRecord;
use netd::tuple::transport;
use serde::Serialize;
use std::io::{self, Write as _};
use std::net::SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// What was asked of the output.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    pub format: Format,
    pub quiet: bool,
}

impl Out {
    /// A list: as JSON, as names only, or as a table.
    pub fn list<T: Serialize, const N: usize>(
        self,
        records: &[T],
        name: impl Fn(&T) -> String,
        columns: [Column; N],
        row: impl Fn(&T) -> [String; N],
    ) -> io::Result<()> {
        match (self.format, self.quiet) {
            (Format::Json, _) => json(&records),
            (Format::Table, true) => lines(records.iter().map(name)),
            (Format::Table, false) => write(table(columns, records.iter().map(row)).as_bytes()),
        }
    }

    /// What a change has to tell: as JSON, or as lines, unless nothing is wanted.
    pub fn changed<T: Serialize>(self, record: &T, told: impl IntoIterator<Item = String>) -> io::Result<()> {
        match (self.format, self.quiet) {
            (_, true) => Ok(()),
            (Format::Json, false) => json(record),
            (Format::Table, false) => lines(told),
        }
    }
}

/// The head of a column and the side its cells stand at.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    Text(&'static str),
    Number(&'static str),
}

impl Column {
    const fn head(self) -> &'static str {
        match self {
            Self::Text(head) | Self::Number(head) => head,
        }
    }
}

/// A table without borders, a blank line's worth of nothing when there are no rows but the head.
pub fn table<const N: usize>(columns: [Column; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.map(Column::head));
    table.add_rows(rows);
    for (column, cells) in columns.iter().zip(table.column_iter_mut()) {
        cells.set_padding((0, 2));
        match column {
            Column::Text(_) => {}
            Column::Number(_) => cells.set_cell_alignment(CellAlignment::Right),
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Rows that decide how wide the columns of a [`Growing`] table are.
const FIRST_ROWS: usize = 1000;
/// Bytes of it that are written at once.
const WRITE_SIZE: usize = 32 * 1024;

/// A table that is written while its rows come, so that it may be of any length. It looks like [`table`]; a cell that is
/// wider than all of the first rows needed pushes the ones behind it.
#[derive(Debug)]
pub struct Growing<const N: usize> {
    columns: [Column; N],
    /// The head and the first rows, until the widths are known.
    waiting: Vec<[String; N]>,
    widths: Option<[usize; N]>,
    text: String,
}

impl<const N: usize> Growing<N> {
    pub fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            waiting: vec![columns.map(|column| column.head().to_owned())],
            widths: None,
            text: String::new(),
        }
    }

    pub fn push(&mut self, row: [String; N]) -> io::Result<()> {
        if let Some(widths) = self.widths {
            self.line(&row, widths);
        } else {
            self.waiting.push(row);
            if self.waiting.len() > FIRST_ROWS {
                self.begin();
            }
        }
        if self.text.len() < WRITE_SIZE {
            return Ok(());
        }
        write(std::mem::take(&mut self.text).as_bytes())
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.begin();
        write(self.text.as_bytes())
    }

    fn begin(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let width =
            |column: usize| waiting.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max();
        let widths = *self.widths.get_or_insert_with(|| std::array::from_fn(|column| width(column).unwrap_or(0)));
        for row in &waiting {
            self.line(row, widths);
        }
    }

    fn line(&mut self, row: &[String; N], widths: [usize; N]) {
        let cells = row.iter().zip(self.columns).zip(widths).map(|((cell, column), width)| match column {
            Column::Text(_) => format!("{cell:<width$}  "),
            Column::Number(_) => format!("{cell:>width$}  "),
        });
        self.text += cells.collect::<String>().trim_end();
        self.text.push('\n');
    }
}

/// One document, readable as it is.
pub fn json<T: Serialize + ?Sized>(record: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(record)?;
    text.push(b'\n');
    write(&text)
}

pub fn lines(lines: impl IntoIterator<Item = String>) -> io::Result<()> {
    let text: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
    write(text.as_bytes())
}

/// Unlike `print!`, an error when nobody reads any more.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A dash where there is nothing, so that columns can be cut.
pub fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

/// Ports in short, like Docker's: neighbours with the same distance are one range.
pub fn ports(publishes: &[ContainerPublishRecord]) -> String {
    let at_ipv6 = |publish: &ContainerPublishRecord| {
        let host_ip = publish.host_ip6?;
        Some(ContainerPublishRecord { host_ip, ..publish.clone() })
    };
    let mut sorted: Vec<_> = publishes.iter().cloned().chain(publishes.iter().filter_map(at_ipv6)).collect();
    sorted.sort_by_key(|publish| (publish.host_ip, publish.protocol, publish.host_port));
    let follows = |a: &ContainerPublishRecord, b: &ContainerPublishRecord| {
        a.host_ip == b.host_ip
            && a.protocol == b.protocol
            && a.host_port.checked_add(1) == Some(b.host_port)
            && a.container_port.checked_add(1) == Some(b.container_port)
    };
    let ranges = sorted.chunk_by(follows).filter_map(|range| {
        let (first, last) = (range.first()?, range.last()?);
        let host = SocketAddr::new(first.host_ip, first.host_port);
        let protocol = transport(first.protocol);
        Some(if range.len() == 1 {
            format!("{host}->{}/{protocol}", first.container_port)
        } else {
            format!("{host}-{}->{}-{}/{protocol}", last.host_port, first.container_port, last.container_port)
        })
    });
    ranges.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd::api::records::Health;
    use netd::model::prefix::Prefixes;
    use netd::model::state::Protocol;

    fn publish(host_port: u16, container_port: u16, protocol: Protocol) -> ContainerPublishRecord {
        let host_ip = "0.0.0.0".parse().expect("an address");
        let (allow, status) = (Prefixes::default(), Health::Ready);
        ContainerPublishRecord { host_ip, host_ip6: None, host_port, container_port, protocol, allow, status }
    }

    #[test]
    fn a_table_that_grows_looks_like_one_that_is_there_already() {
        let columns = [Column::Text("NAME"), Column::Number("BYTES"), Column::Text("NOTE")];
        let row = |name: &str, bytes: &str, note: &str| [name, bytes, note].map(str::to_owned);
        let rows = [row("a", "1", "-"), row("longer", "1234567", ""), row("b", "12", "a b")];
        let mut growing = Growing::new(columns);
        rows.iter().cloned().try_for_each(|row| growing.push(row)).expect("nothing is written yet");
        growing.begin();
        assert_eq!(growing.text, table(columns, rows));
        growing.push(row("wider than all before", "1", "c")).expect("nothing is written yet");
        assert!(growing.text.ends_with("\nwider than all before        1  c\n"), "{}", growing.text);
        let mut empty = Growing::new(columns);
        empty.begin();
        assert_eq!(empty.text, table(columns, []));
    }

    #[test]
    fn no_more_than_the_first_rows_wait() {
        let mut growing = Growing::new([Column::Text("N")]);
        for number in 0..FIRST_ROWS {
            growing.push([number.to_string()]).expect("little is written");
        }
        assert!(growing.waiting.is_empty() && growing.text.lines().count() == 1 + FIRST_ROWS);
    }

    #[test]
    fn neighbours_are_one_range() {
        let mut publishes: Vec<_> = (8000..8100).map(|port| publish(port, port + 1000, Protocol::Tcp)).collect();
        publishes.push(publish(53, 53, Protocol::Udp));
        publishes.push(publish(8100, 80, Protocol::Tcp));
        assert_eq!(ports(&publishes), "0.0.0.0:8000-8099->9000-9099/tcp, 0.0.0.0:8100->80/tcp, 0.0.0.0:53->53/udp");
        assert_eq!(ports(&[]), "");
        let host_ip6 = Some("::".parse().expect("an address"));
        let everywhere = ContainerPublishRecord { host_ip6, ..publish(80, 80, Protocol::Tcp) };
        assert_eq!(ports(&[everywhere]), "0.0.0.0:80->80/tcp, [::]:80->80/tcp");
    }

    #[test]
    fn a_table_has_no_borders_and_numbers_stand_right() {
        let rows = [["web".to_owned(), "7".to_owned()], ["client".to_owned(), "4200".to_owned()]];
        assert_eq!(
            table([Column::Text("NAME"), Column::Number("PACKETS")], rows),
            "NAME    PACKETS\nweb           7\nclient     4200\n"
        );
        assert_eq!(table([Column::Text("NAME")], []), "NAME\n");
    }
}
