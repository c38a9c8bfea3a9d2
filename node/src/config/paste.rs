//! Pastes `<?include "file"?>`, so that a configuration that came as several files can be kept as
//! one text, comments and all. It follows the reader, which says what is wrong with a directive and
//! where; here only what the reader has accepted counts. Pure.

/// How deep includes may nest, as in the reader.
const MAX_DEPTH: usize = 10;

/// `text` with every include replaced by what `load` gives for its name, includes in there too.
///
/// # Errors
/// What `load` says, or that the nesting has no end.
pub fn paste(
    text: &str,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    paste_into(text, 0, load, &mut out)?;
    Ok(out)
}

fn paste_into(
    text: &str,
    depth: usize,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
    out: &mut String,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("includes are nested deeper than {MAX_DEPTH}"));
    }
    let mut rest = text;
    while let Some(Include { before, name, after }) = next_include(rest) {
        out.push_str(before);
        paste_into(&load(name)?, depth + 1, load, out)?;
        // A comment at the end of an included file ends with that file.
        if !out.ends_with('\n') {
            out.push('\n');
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

struct Include<'a> {
    before: &'a str,
    name: &'a str,
    after: &'a str,
}

/// The first include outside strings and comments.
fn next_include(text: &str) -> Option<Include<'_>> {
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
            let (words, after) = include.split_once("?>")?;
            let name = words.trim().strip_prefix("include")?.trim();
            let name = name.strip_prefix('"')?.strip_suffix('"')?;
            return Some(Include { before: &text[..at], name, after });
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
            "subnets" => Ok("[ <?include \"one\"?> # of many\n ]".to_owned()),
            "one" => Ok("1".to_owned()),
            "comment" => Ok("1 // one".to_owned()),
            "round" => Ok("<?include \"round\"?>".to_owned()),
            other => Err(format!("no {other}")),
        }
    }

    #[test]
    fn includes_are_pasted_outside_strings_and_comments_and_everything_else_stays() {
        let text = "{ \"a\": \"<?include \\\"x\\\"?>\", # <?include \"y\"?>\n /* <?include */ \"b\": <?include \"subnets\"?>, // end\n\"c\": 1/2 }";
        let pasted = paste(text, &mut files).unwrap();
        assert_eq!(pasted, text.replace("<?include \"subnets\"?>", "[ 1\n # of many\n ]\n"));
        let comment = paste("[<?include \"comment\"?>, 2]", &mut files).unwrap();
        assert_eq!(comment, "[1 // one\n, 2]", "a comment ends with its file");
        assert_eq!(paste("{}", &mut files).unwrap(), "{}");
    }

    #[test]
    fn what_cannot_be_loaded_and_what_has_no_end_is_an_error() {
        assert_eq!(paste("<?include \"z\"?>", &mut files).unwrap_err(), "no z");
        assert!(paste("<?include \"round\"?>", &mut files).unwrap_err().contains("deeper"));
    }
}
