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

/// A table without borders, a blank line's worth of nothing when there are no rows but the head.
pub fn table<const N: usize>(columns: [Column; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.map(|column| match column {
        Column::Text(head) | Column::Number(head) => head,
    }));
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
    use netd::model::state::Protocol;

    fn publish(host_port: u16, container_port: u16, protocol: Protocol) -> ContainerPublishRecord {
        let host_ip = "0.0.0.0".parse().expect("an address");
        let status = Health::Ready;
        ContainerPublishRecord { host_ip, host_ip6: None, host_port, container_port, protocol, status }
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
