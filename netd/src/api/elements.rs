//! How is a long JSON array read while it comes?
//!
//! One record at a time: what is kept in memory is the piece that came last, and the beginning of a record that it broke.

use super::client::{ClientError, Pieces};
use serde::de::{DeserializeOwned, Error as _};

/// Bytes of a record, at most; an answer with a longer one is not netd's.
const RECORD_SIZE_MAX: usize = 1024 * 1024;

/// The records of an array that comes in pieces.
#[derive(Debug)]
pub struct Elements {
    pieces: Pieces,
    cutter: Cutter,
}

impl Elements {
    #[must_use]
    pub const fn of(pieces: Pieces) -> Self {
        Self { pieces, cutter: Cutter { text: Vec::new(), at: 0, place: Place::Before } }
    }

    /// The next record; none at the end.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no array of such records.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            match self.cutter.cut()? {
                Cut::Record(record) => return Ok(Some(record)),
                Cut::End => return Ok(None),
                Cut::Unfinished => {}
            }
            match self.pieces.next().await? {
                Some(piece) => self.cutter.add(&piece),
                None => return Err(serde_json::Error::custom("it ends in the middle").into()),
            }
        }
    }
}

/// Cuts the text of an array into records.
#[derive(Debug)]
struct Cutter {
    text: Vec<u8>,
    /// Up to where it is cut.
    at: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The bracket has not come.
    Before,
    /// Behind the bracket.
    First,
    /// Behind a record.
    Between,
    /// Behind a comma.
    Next,
    After,
}

#[derive(Debug, PartialEq, Eq)]
enum Cut<T> {
    Record(T),
    End,
    /// More text is needed.
    Unfinished,
}

impl Cutter {
    fn add(&mut self, piece: &[u8]) {
        self.text.drain(..self.at);
        self.at = 0;
        self.text.extend_from_slice(piece);
    }

    fn cut<T: DeserializeOwned>(&mut self) -> Result<Cut<T>, serde_json::Error> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default().trim_ascii_start();
            self.at = self.text.len() - rest.len();
            if self.place == Place::After {
                return if rest.is_empty() { Ok(Cut::End) } else { Err(serde_json::Error::custom("it has no end")) };
            }
            let Some(&byte) = rest.first() else { return Ok(Cut::Unfinished) };
            self.place = match (self.place, byte) {
                (Place::Before, b'[') => Place::First,
                (Place::First | Place::Between, b']') => Place::After,
                (Place::Between, b',') => Place::Next,
                (Place::First | Place::Next, _) => return self.record(),
                _ => return Err(serde_json::Error::custom("it is no array")),
            };
            self.at += 1;
        }
    }

    fn record<T: DeserializeOwned>(&mut self) -> Result<Cut<T>, serde_json::Error> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut records = serde_json::Deserializer::from_slice(rest).into_iter();
        match records.next() {
            Some(Ok(record)) => {
                self.at += records.byte_offset();
                self.place = Place::Between;
                Ok(Cut::Record(record))
            }
            Some(Err(error)) if !error.is_eof() || rest.len() > RECORD_SIZE_MAX => Err(error),
            Some(Err(_)) | None => Ok(Cut::Unfinished),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Record = std::collections::BTreeMap<String, String>;

    /// What comes of a text that is broken into pieces of this size.
    fn read(text: &str, size: usize) -> Result<Vec<Record>, String> {
        let mut cutter = Cutter { text: Vec::new(), at: 0, place: Place::Before };
        let mut records = Vec::new();
        let mut pieces = text.as_bytes().chunks(size);
        loop {
            match cutter.cut().map_err(|error| error.to_string())? {
                Cut::Record(record) => records.push(record),
                Cut::End => return Ok(records),
                Cut::Unfinished => match pieces.next() {
                    Some(piece) => cutter.add(piece),
                    None => return Err("unfinished".to_owned()),
                },
            }
            assert!(cutter.text.len() <= 64 + size, "what was read is let go");
        }
    }

    #[test]
    fn records_come_whole_wherever_the_pieces_are_broken() {
        let text = "[{\"a\":\"], \\\" {\"} , {\"a\":\"é\"},{\"b\":\"c\"}]\n";
        let expected: Vec<Record> = serde_json::from_str(text).expect("JSON");
        for size in 1..=text.len() {
            assert_eq!(read(text, size).as_ref(), Ok(&expected), "in pieces of {size}");
            assert_eq!(read(" [ ] ", size), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_is_no_array_of_records_is_refused() {
        for size in 1..10 {
            assert_eq!(read("[{\"a\":\"b\"},", size), Err("unfinished".to_owned()));
            assert_eq!(read("{\"a\":\"b\"}", size), Err("it is no array".to_owned()));
            assert_eq!(read("[{\"a\":\"b\"}{\"a\":\"b\"}]", size), Err("it is no array".to_owned()));
            assert!(read("[1]", size).is_err_and(|error| error.contains("invalid type")));
        }
        assert_eq!(read("[] []", 9), Err("it has no end".to_owned()));
    }
}
