//! Command lines of a program in a page, wherever they stand: in blocks of any language, run or not, and between backticks in the
//! text. Pure.

/// One command line: what follows the program's name, as a shell would part it into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// Of the page, counted from 1.
    pub line: usize,
    pub words: Vec<String>,
}

/// Every command line of `program` in a page of Markdown.
pub fn command_lines(page: &str, program: &str) -> Vec<Typed> {
    let mut found = Vec::new();
    for (line, code) in code(page) {
        for (at, rest) in after_each(&code, program) {
            let line = line + code[..at].matches('\n').count();
            found.push(Typed { line, words: words(rest) });
        }
    }
    found
}

/// The pieces of code of a page, with the line that each begins in: one for each line of a block and those that continue it, one
/// for each pair of backticks.
fn code(page: &str) -> Vec<(usize, String)> {
    let mut pieces: Vec<(usize, String)> = Vec::new();
    let mut text = String::new();
    let mut fence: Option<&str> = None;
    let mut continues = false;
    for (at, line) in (1..).zip(page.lines()) {
        let bare = line.trim_start();
        let ticks = &bare[..bare.len() - bare.trim_start_matches('`').len()];
        match fence {
            Some(end) if bare.trim_end() == end => fence = None,
            Some(_) => {
                let typed = line.strip_prefix("$ ").or(line.strip_prefix("> ")).unwrap_or(line);
                match pieces.last_mut() {
                    Some((_, piece)) if continues => {
                        piece.push('\n');
                        piece.push_str(typed);
                    }
                    _ => pieces.push((at, typed.to_owned())),
                }
            }
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => text.push_str(line),
        }
        continues = fence.is_some() && line.ends_with('\\');
        // As many lines as the page has, so that places in it can be counted.
        text.push('\n');
    }
    let mut line = 1;
    for (number, piece) in text.split('`').enumerate() {
        if number % 2 == 1 {
            pieces.push((line, piece.to_owned()));
        }
        line += piece.matches('\n').count();
    }
    pieces
}

/// Each place where `program` stands as a word of its own, and what follows it.
fn after_each<'a>(code: &'a str, program: &str) -> Vec<(usize, &'a str)> {
    let at_word = |at: usize| {
        let (before, after) = (code[..at].chars().next_back(), &code[at + program.len()..]);
        before.is_none_or(|c| c.is_whitespace() || "(;|&\"'".contains(c))
            && after.chars().next().is_none_or(char::is_whitespace)
    };
    let places = code.match_indices(program).map(|(at, _)| at).filter(|at| at_word(*at));
    places.map(|at| (at, &code[at + program.len()..])).collect()
}

/// The words up to where the command ends: at a pipe, a redirection, a comment, the end of a substitution.
fn words(rest: &str) -> Vec<String> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut quote = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some('\n') | None => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '|' | ';' | '&' | '<' | '>' | '(' | ')') => break,
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
Say `ctl node
list` or `ctl`, not ctl-x; the `other-ctl go` and ctl drain are none.

```console
$ id=$(ctl -o json add --note \"a b\" | sed 's/ctl//')
$ x ctl \\
>   one 'two three' # ctl four
printed
```

```toml
# with ctl five, and `ctl six
```

And `ctl seven > file`.
";

    #[test]
    fn command_lines_are_found_in_blocks_and_between_backticks() {
        let found: Vec<(usize, String)> = command_lines(PAGE, "ctl")
            .into_iter()
            .map(|typed| (typed.line, typed.words.join("|")))
            .collect();
        let expected = [
            (5, "-o|json|add|--note|a b"),
            (6, "one|two three"),
            (7, "four"),
            (12, "five,|and|`ctl|six"),
            (1, "node|list"),
            (2, ""),
            (15, "seven"),
        ];
        assert_eq!(found, expected.map(|(line, words)| (line, words.to_owned())));
    }
}
