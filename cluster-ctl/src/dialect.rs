//! Pastes `<?include "file"?>` of Kea's dialect, because the files lie on this machine. Everything
//! else of the dialect is left to the node, which has the parser.

use std::path::Path;

/// Kea's own limit.
const MAX_DEPTH: usize = 10;
/// A configuration that a node would take (its body limit is 64 MiB by default).
const MAX_BYTES: usize = 64 << 20;

/// The text of `file` with its includes pasted; whether there were any. Relative names count from
/// the working directory, as in Kea.
pub fn read(file: &Path) -> Result<(String, bool), String> {
    let mut text = String::new();
    let included = paste(file, 0, &mut text)?;
    Ok((text, included))
}

fn paste(file: &Path, depth: usize, out: &mut String) -> Result<bool, String> {
    if depth > MAX_DEPTH {
        return Err(format!("{}: includes are nested deeper than {MAX_DEPTH}", file.display()));
    }
    let text = match file.to_str() {
        Some("-") if depth == 0 => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    let (mut rest, mut included) = (text.as_str(), false);
    while let Some(piece) = next(rest) {
        let (before, name, after) =
            piece.map_err(|error| format!("{}: {error}", file.display()))?;
        out.push_str(before);
        paste(Path::new(name), depth + 1, out)?;
        (rest, included) = (after, true);
    }
    out.push_str(rest);
    if out.len() > MAX_BYTES {
        return Err(format!("{}: more than {MAX_BYTES} bytes with its includes", file.display()));
    }
    Ok(included)
}

/// The first include outside strings and comments: what is before it, its name, what is behind.
fn next(text: &str) -> Option<Result<(&str, &str, &str), String>> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let here = rest.find(['"', '#', '/', '<'])?;
        at += here;
        let rest = &text[at..];
        let skip = |end: Option<usize>| end.unwrap_or(rest.len());
        at += if let Some(string) = rest.strip_prefix('"') {
            skip(string_end(string).map(|end| end + 2))
        } else if rest.starts_with('#') || rest.starts_with("//") {
            skip(rest.find('\n'))
        } else if let Some(comment) = rest.strip_prefix("/*") {
            skip(comment.find("*/").map(|end| end + 4))
        } else if let Some(include) = rest.strip_prefix("<?") {
            let found = (|| {
                let (word, after) = include.split_once("?>")?;
                let name = word
                    .trim()
                    .strip_prefix("include")?
                    .trim()
                    .strip_prefix('"')?
                    .strip_suffix('"')?;
                Some((&text[..at], name, after))
            })();
            return Some(
                found.ok_or_else(|| "an include is written <?include \"file\"?>".to_owned()),
            );
        } else {
            1
        };
    }
}

/// Where the closing quote is.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_found_outside_strings_and_comments_only() {
        let text = "{ \"a\": \"<?include \\\"x\\\"?>\", # <?include \"y\"?>\n /* <?include */ \"b\": <?include \"z\"?> }";
        let (before, name, after) = next(text).unwrap().unwrap();
        assert!(before.ends_with("\"b\": "));
        assert_eq!((name, after), ("z", " }"));
        assert!(next("{ \"a\": 1 / 2, \"b").is_none());
        assert!(next("<?exec \"z\"?>").unwrap().is_err());
    }
}
