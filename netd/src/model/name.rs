//! What may a container or a network be called, and which name was probably meant?

/// Bytes of a name at most: a DNS label (RFC 1035 section 2.3.4), since names become host names.
pub const NAME_SIZE_MAX: usize = 63;

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("is empty")]
    Empty,
    #[error("has {bytes} bytes, more than {NAME_SIZE_MAX}")]
    TooLong { bytes: usize },
    #[error("starts with '{}'", character.escape_debug())]
    Start { character: char },
    #[error("has a '{}' in it", character.escape_debug())]
    Character { character: char },
}

/// A name is `[a-zA-Z0-9][a-zA-Z0-9_.-]*`: it is a file name under `/run/netns`, a host name and part of URLs.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(name: &str) -> Result<(), NameError> {
    let Some(first) = name.chars().next() else { return Err(NameError::Empty) };
    if name.len() > NAME_SIZE_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Start { character: first });
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-')) {
        Some(character) => Err(NameError::Character { character }),
        None => Ok(()),
    }
}

/// The candidate that `name` is most probably a misspelling of; none when nothing is near enough to be worth saying.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a String>) -> Option<String> {
    // A third of the letters wrong is still a misspelling; more is another word.
    let distance_max = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|&(distance, candidate)| distance <= distance_max || candidate.starts_with(name) && !name.is_empty())
        .min()
        .map(|(_, candidate)| candidate.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names_and_host_names() {
        let longest = "a".repeat(NAME_SIZE_MAX);
        for name in ["web", "0", "a_b.c-d", "WEB", longest.as_str()] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for (name, error) in [
            ("", "is empty"),
            (".", "starts with '.'"),
            ("..", "starts with '.'"),
            ("-rf", "starts with '-'"),
            ("a/b", "has a '/' in it"),
            ("a b", "has a ' ' in it"),
            ("a\n", "has a '\\n' in it"),
            ("wéb", "has a 'é' in it"),
            (&"a".repeat(64), "has 64 bytes, more than 63"),
        ] {
            assert_eq!(check(name).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_misspelling_finds_its_name_and_another_word_does_not() {
        let names = ["web", "client", "database"].map(String::from);
        for (typed, meant) in
            [("wbe", Some("web")), ("WEB", Some("web")), ("databse", Some("database")), ("data", Some("database"))]
        {
            assert_eq!(nearest(typed, &names).as_deref(), meant, "{typed}");
        }
        for typed in ["nginx", "", "x"] {
            assert_eq!(nearest(typed, &names), None, "{typed}");
        }
    }
}
