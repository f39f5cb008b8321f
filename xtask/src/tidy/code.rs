//! What of a Rust file is code, and what is comment, text or test?

/// The same text with comments, and what stands between quotes, blanked; lines stay where they are.
pub fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            string(rest)
        } else if let Some(length) = character(rest) {
            length
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[skipped..];
    }
    code
}

/// The length of the quoted string that `text` starts with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `r"…"` or `r#"…"#`.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |end| end + close.len());
    Some(1 + hashes + 1 + end)
}

/// The length of `'x'` or `'\n'`; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let after = text.strip_prefix('\'')?;
    let mut chars = after.chars();
    let inner = match chars.next()? {
        '\\' => 1 + chars.next()?.len_utf8(),
        c => c.len_utf8(),
    };
    after[inner..].starts_with('\'').then_some(inner + 2)
}

/// From the start of `code` to the brace that closes the first one.
pub fn braced(code: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &code[..=at];
                }
            }
            _ => {}
        }
    }
    code
}

/// What stands before the tests, which are last in a file.
pub fn before_tests(text: &str) -> &str {
    match text.find("#[cfg(test)]\nmod tests") {
        Some(at) => &text[..at],
        None => text,
    }
}

/// The number of the line that the byte `at` is on, from 1.
pub fn line_number(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_are_blanked_and_lines_stay() {
        let text =
            "use a; // aya::x\n/* aya */ let s = \"aya::\\\" y\"; let r = r#\"aya \" \"#; let c = '\"'; f::<'a>()";
        let code = code_only(text);
        assert!(!code.contains("aya"), "{code}");
        assert!(code.contains("let c =") && code.contains("f::<'a>()"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn a_block_ends_with_its_own_brace() {
        assert_eq!(braced("x { a { b } c } d }"), "x { a { b } c }");
    }

    #[test]
    fn tests_are_cut_off() {
        assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
        assert_eq!(before_tests("a\n#[cfg(test)]\nuse b;\n"), "a\n#[cfg(test)]\nuse b;\n");
    }
}
