//! Pastes `<?include "file"?>` of Kea's dialect, because the files lie on this machine, and keeps in
//! mind where each part came from. Everything else of the dialect is left to the node, which has the
//! parser: comments and layout travel as they are, and the places that it names are translated back.

use std::path::Path;

/// Kea's own limit.
const MAX_DEPTH: usize = 10;
/// The longest text that a cluster takes.
const MAX_BYTES: usize = 256 << 20;

/// A text made of one or more files.
#[derive(Debug, Default)]
pub struct Source {
    /// The text, includes pasted.
    pub text: String,
    /// Which part of it came from where, ascending; the first begins at 0.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// Where it begins in the text.
    begin: usize,
    /// The file, and the place in it.
    file: String,
    line: usize,
    column: usize,
}

/// The text of `file` with its includes pasted. Relative names count from the working directory, as
/// in Kea. `-` is standard input.
pub fn read(file: &Path) -> Result<Source, String> {
    let mut source = Source::default();
    let load = |name: &str| {
        let text = match name {
            "-" => std::io::read_to_string(std::io::stdin()),
            _ => std::fs::read_to_string(name),
        };
        text.map_err(|error| format!("{name}: {error}"))
    };
    let name = file.to_str().ok_or_else(|| format!("{}: no UTF-8", file.display()))?;
    source.paste(name, 0, &load)?;
    Ok(source)
}

impl Source {
    fn paste(
        &mut self,
        name: &str,
        depth: usize,
        load: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("{name}: includes are nested deeper than {MAX_DEPTH}"));
        }
        if depth > 0 && name == "-" {
            return Err("standard input cannot be included".to_owned());
        }
        let text = load(name)?;
        let mut at = 0;
        while let Some(include) = next_include(&text[at..]) {
            let include = include.map_err(|error| {
                let (line, column) = place(&text, at, (1, 1));
                format!("{name}: behind line {line}, column {column}: {error}")
            })?;
            self.push(name, &text, at, at + include.begin);
            self.paste(include.name, depth + 1, load)?;
            // A comment at the end of an included file ends with that file.
            if !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            at += include.end;
        }
        self.push(name, &text, at, text.len());
        if self.text.len() > MAX_BYTES {
            return Err(format!("{name}: more than {MAX_BYTES} bytes with what it includes"));
        }
        Ok(())
    }

    fn push(&mut self, name: &str, text: &str, from: usize, to: usize) {
        let (line, column) = place(text, from, (1, 1));
        let (begin, file) = (self.text.len(), name.to_owned());
        self.parts.push(Part { begin, file, line, column });
        self.text.push_str(&text[from..to]);
    }

    /// Whether it came from more than one file.
    #[cfg(test)]
    fn is_pasted(&self) -> bool {
        self.parts.len() > 1
    }

    /// The node calls the text it got `document`, and names places in it as `document:LINE:COLUMN`:
    /// here they become places in the files.
    pub fn translate(&self, message: &str) -> String {
        let mut out = String::with_capacity(message.len());
        let mut rest = message;
        while let Some(at) = rest.find(NAME) {
            let (before, behind) = rest.split_at(at);
            out.push_str(before);
            let behind = &behind[NAME.len()..];
            match numbers(behind) {
                Some((line, column, behind)) if !out.ends_with(|c: char| c.is_alphanumeric()) => {
                    out.push_str(&self.original(line, column));
                    rest = behind;
                }
                _ => {
                    out.push_str(NAME);
                    rest = behind;
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn original(&self, line: usize, column: usize) -> String {
        let at = offset(&self.text, line, column);
        let part = self.parts.iter().rev().find(|part| part.begin <= at);
        match part {
            Some(part) => {
                let begin = (part.line, part.column);
                let (line, column) = place(&self.text[part.begin..], at - part.begin, begin);
                format!("{}:{line}:{column}", part.file)
            }
            None => format!("{NAME}{line}:{column}"),
        }
    }
}

/// What the node calls a text without a name.
const NAME: &str = "document:";

/// `12:34…` as numbers, and what is behind them.
fn numbers(text: &str) -> Option<(usize, usize, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (line, rest) = text.split_at(digits(text));
    let rest = rest.strip_prefix(':')?;
    let (column, rest) = rest.split_at(digits(rest));
    Some((line.parse().ok()?, column.parse().ok()?, rest))
}

/// Line and column `at` bytes behind a place; columns count characters.
fn place(text: &str, at: usize, begin: (usize, usize)) -> (usize, usize) {
    let before = &text[..at];
    match before.rfind('\n') {
        Some(newline) => {
            (begin.0 + before.matches('\n').count(), before[newline + 1..].chars().count() + 1)
        }
        None => (begin.0, begin.1 + before.chars().count()),
    }
}

/// Where a line and column are.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let mut begin = 0;
    for _ in 1..line {
        match text[begin..].find('\n') {
            Some(newline) => begin += newline + 1,
            None => return text.len(),
        }
    }
    let skipped = text[begin..].char_indices().nth(column.saturating_sub(1));
    skipped.map_or(text.len(), |(at, _)| begin + at)
}

#[derive(Debug, PartialEq)]
struct Include<'a> {
    begin: usize,
    name: &'a str,
    end: usize,
}

/// The first include outside strings and comments.
fn next_include(text: &str) -> Option<Result<Include<'_>, String>> {
    let mut at = 0;
    loop {
        at += text.get(at..)?.find(['"', '#', '/', '<'])?;
        let rest = &text[at..];
        let behind = |end: Option<usize>| end.unwrap_or(rest.len());
        at += if let Some(string) = rest.strip_prefix('"') {
            behind(end_of_string(string).map(|end| end + 2))
        } else if rest.starts_with('#') || rest.starts_with("//") {
            behind(rest.find('\n'))
        } else if let Some(comment) = rest.strip_prefix("/*") {
            behind(comment.find("*/").map(|end| end + 4))
        } else if let Some(include) = rest.strip_prefix("<?") {
            let found = (|| {
                let (words, _) = include.split_once("?>")?;
                let name = words.trim().strip_prefix("include")?.trim();
                let name = name.strip_prefix('"')?.strip_suffix('"')?;
                Some(Include { begin: at, name, end: at + words.len() + 4 })
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
fn end_of_string(text: &str) -> Option<usize> {
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

    fn files(name: &str) -> Result<String, String> {
        match name {
            "kea.conf" => Ok("{ \"Dhcp4\": {\n  \"é\": 1, <?include \"a\"?>, \"c\": 3,\n  <?include \"b\"?>\n} } # end\n".into()),
            "a" => Ok("# first\n  \"bad\": 2".into()),
            "b" => Ok("\"d\": <?include \"a\"?>".into()),
            "round" => Ok("<?include \"round\"?>".into()),
            "list" => Ok("[<?include \"comment\"?>, x]".into()),
            "comment" => Ok("1 // one".into()),
            "exec" => Ok("{\n <?exec \"x\"?>".into()),
            other => Err(format!("{other}: not found")),
        }
    }

    fn pasted(name: &str) -> Result<Source, String> {
        let mut source = Source::default();
        source.paste(name, 0, &files).map(|()| source)
    }

    #[test]
    fn includes_are_found_outside_strings_and_comments_only() {
        let text = "{ \"a\": \"<?include \\\"x\\\"?>\", # <?include \"y\"?>\n /* <?include */ \"b\": <?include \"z\"?> }";
        let include = next_include(text).unwrap().unwrap();
        assert_eq!(include.name, "z");
        assert_eq!(&text[include.begin..include.end], "<?include \"z\"?>");
        assert!(next_include("{ \"a\": 1 / 2, \"b").is_none());
        assert!(next_include("<?exec \"z\"?>").unwrap().is_err());
    }

    #[test]
    fn comments_stay_and_places_are_those_of_the_files() {
        let source = pasted("kea.conf").unwrap();
        assert!(source.is_pasted());
        assert!(source.text.contains("# first") && source.text.contains("# end"));
        let place_of = |what: &str, nth: usize| {
            let at = source.text.match_indices(what).nth(nth).unwrap().0;
            let (line, column) = place(&source.text, at, (1, 1));
            source.translate(&format!("wrong (document:{line}:{column})"))
        };
        assert_eq!(place_of("\"Dhcp4\"", 0), "wrong (kea.conf:1:3)");
        assert_eq!(place_of("\"é\"", 0), "wrong (kea.conf:2:3)");
        assert_eq!(place_of("\"bad\"", 0), "wrong (a:2:3)");
        assert_eq!(place_of("\"c\"", 0), "wrong (kea.conf:2:28)");
        assert_eq!(place_of("\"d\"", 0), "wrong (b:1:1)");
        assert_eq!(place_of("\"bad\"", 1), "wrong (a:2:3)");
        assert_eq!(place_of("# end", 0), "wrong (kea.conf:4:5)");
    }

    #[test]
    fn a_comment_at_the_end_of_an_included_file_ends_with_it() {
        let source = pasted("list").unwrap();
        assert_eq!(source.text, "[1 // one\n, x]");
        assert_eq!(source.translate("document:2:3"), "list:1:25");
    }

    #[test]
    fn what_is_no_place_is_left_alone() {
        let source = pasted("a").unwrap();
        for text in ["the document: good", "mydocument:1:1", "document:x:1", "document:1", ""] {
            assert_eq!(source.translate(text), text);
        }
        assert_eq!(source.translate("document:99:99 and document:1:2"), "a:2:11 and a:1:2");
    }

    #[test]
    fn files_that_cannot_be_pasted_are_named() {
        assert_eq!(pasted("nothing").unwrap_err(), "nothing: not found");
        assert!(pasted("round").unwrap_err().contains("nested deeper"));
        assert!(pasted("exec").unwrap_err().starts_with("exec: "));
    }
}
