//! Does a file say what it is for, and can it be read in one sitting?

use super::Source;
use super::code::before_tests;

const LINES_MAX: usize = 400;

/// The first line of a Rust file starts a paragraph that is a question or a sentence: what the file is for.
pub fn header(source: &Source) -> Option<String> {
    let lines = source.text.lines().map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    if paragraph.is_empty() {
        return Some(format!("{}:1: starts with no `//!` line that says which question it answers", source.path));
    }
    // A source may stand in brackets behind the question.
    let said = paragraph.split(" (").next().unwrap_or(&paragraph);
    let is_sentence = [said, &paragraph].iter().any(|text| text.ends_with(['.', '?', ':']));
    (!is_sentence).then(|| format!("{}:1: `//! {paragraph}` is neither a question nor a sentence", source.path))
}

pub fn length(source: &Source) -> Option<String> {
    let is_test = source.path.starts_with("tests/") || source.path.ends_with("/tests.rs");
    if is_test {
        return None;
    }
    let lines = before_tests(&source.text).lines().count();
    (lines > LINES_MAX).then(|| format!("{}: {lines} lines without tests; does it answer one question?", source.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: "a.rs".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_header_is_a_question_or_a_sentence() {
        assert_eq!(header(&source("//! What is it?\n")), None);
        assert_eq!(header(&source("//! It is long, so long\n//! that it takes two lines.\n//!\n//! more")), None);
        assert_eq!(header(&source("//! How is it told? (`sd_notify(3)`)\n")), None);
        for text in ["", "use a;\n//! Late.\n", "//! helpers\n", "// Wrong.\n", "//!\n//! What?\n"] {
            assert!(header(&source(text)).is_some(), "{text:?}");
        }
    }

    #[test]
    fn long_files_are_warned_of() {
        assert_eq!(length(&source(&"x\n".repeat(LINES_MAX))), None);
        assert!(length(&source(&"x\n".repeat(LINES_MAX + 1))).is_some());
        let tests = format!("#[cfg(test)]\nmod tests {{{}}}", "x\n".repeat(LINES_MAX));
        assert_eq!(length(&source(&tests)), None);
    }
}
