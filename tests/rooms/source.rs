//! What a Rust file uses: a reader of just so much of the language as that takes.

use std::collections::BTreeSet;

/// Something that a file uses.
#[derive(Debug, PartialEq)]
pub enum Use {
    /// A crate that the project depends on.
    Crate(String),
    /// A module right below the root of its crate or its folder `support`, or one found through `super`.
    Module(String),
    /// A path of at least two names, whole.
    Path(String),
    /// Unsafe code.
    Unsafe,
}

/// A path in a file, such as `crate::http::wire`, with all that a group of a `use` names written out.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub line: usize,
    pub parts: Vec<String>,
    /// The name that `as` gives it.
    pub alias: Option<String>,
    /// It stands in a `pub use`.
    pub exported: bool,
}

/// A file without its comments, texts and characters.
pub struct Source {
    tokens: Vec<(usize, Token)>,
    lines: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    /// `::`
    Colons,
    Other(char),
}

impl Source {
    pub fn new(text: &str) -> Self {
        Self { tokens: tokens(text), lines: text.lines().count() }
    }

    pub fn lines(&self) -> usize {
        self.lines
    }

    /// All uses with their lines. `crates` are the names that mean a crate.
    pub fn uses(&self, crates: &BTreeSet<String>) -> Vec<(usize, Use)> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let (line, Token::Name(name)) = &self.tokens[at] else { continue };
            let before = at.checked_sub(1).map(|before| &self.tokens[before].1);
            if name == "unsafe" {
                found.push((*line, Use::Unsafe));
            }
            if matches!(before, Some(Token::Colons | Token::Other('.'))) {
                continue;
            }
            let leads = self.token(at + 1) == Some(&Token::Colons);
            let named = matches!(before, Some(Token::Name(word)) if word == "use" || word == "crate");
            if crates.contains(name) && (leads || named) {
                found.push((*line, Use::Crate(name.clone())));
            }
            if leads {
                self.paths(at, String::new(), &mut found);
            }
        }
        found
    }

    /// All paths of what is compiled outside of tests and documentation.
    pub fn paths_of_the_program(&self) -> Vec<Path> {
        let mut found = Vec::new();
        let (mut at, mut exported, mut importing) = (0, false, false);
        while at < self.tokens.len() {
            if let Some(end) = self.test_item(at) {
                at = end;
                continue;
            }
            match self.token(at) {
                Some(Token::Name(name)) if name == "use" => {
                    let before = at.checked_sub(1).and_then(|before| self.token(before));
                    importing = true;
                    exported = match before {
                        Some(Token::Name(word)) => word == "pub",
                        Some(Token::Other(sign)) => *sign == ')',
                        _ => false,
                    };
                    at += 1;
                }
                Some(Token::Other(';')) => {
                    (exported, importing) = (false, false);
                    at += 1;
                }
                Some(Token::Name(_)) => {
                    let before = at.checked_sub(1).and_then(|before| self.token(before));
                    let inside = matches!(before, Some(Token::Colons | Token::Other('.' | '$')));
                    let leads = self.token(at + 1) == Some(&Token::Colons);
                    if leads && !inside {
                        at = self.path(at, Vec::new(), exported, &mut found);
                    } else {
                        // `use posting;` names a module as it is.
                        if importing && !inside {
                            self.path(at, Vec::new(), exported, &mut found);
                        }
                        at += 1;
                    }
                }
                _ => at += 1,
            }
        }
        found
    }

    /// Where an item that is compiled only for tests or documentation ends, if one begins here.
    fn test_item(&self, at: usize) -> Option<usize> {
        let name = |word: &str| Token::Name(word.to_owned());
        let mark = [Token::Other('#'), Token::Other('['), name("cfg"), Token::Other('(')];
        if !mark.iter().enumerate().all(|(nth, token)| self.token(at + nth) == Some(token))
            || ![name("test"), name("doc")].iter().any(|word| self.token(at + mark.len()) == Some(word))
            || self.token(at + mark.len() + 1) != Some(&Token::Other(')'))
        {
            return None;
        }
        let mut depth = 0;
        for end in at + mark.len() + 3..self.tokens.len() {
            match self.tokens[end].1 {
                Token::Other('{') => depth += 1,
                Token::Other('}') if depth == 1 => return Some(end + 1),
                Token::Other('}') => depth -= 1,
                Token::Other(';' | ',') if depth == 0 => return Some(end + 1),
                _ => {}
            }
        }
        Some(self.tokens.len())
    }

    /// Reads the path at `at`, which continues `parts`; returns where it ends.
    fn path(&self, mut at: usize, mut parts: Vec<String>, exported: bool, found: &mut Vec<Path>) -> usize {
        let line = self.tokens[at].0;
        loop {
            match self.token(at) {
                Some(Token::Name(name)) => parts.push(name.clone()),
                Some(Token::Other('*')) => parts.push("*".to_owned()),
                Some(Token::Other('{')) => {
                    at += 1;
                    loop {
                        at = match self.token(at) {
                            None => return at,
                            Some(Token::Other('}')) => return at + 1,
                            Some(Token::Name(_) | Token::Other('*')) => self.path(at, parts.clone(), exported, found),
                            _ => at + 1,
                        };
                    }
                }
                // The parameters of a type, such as `Vec::<u8>`.
                _ => break,
            }
            at += 1;
            if self.token(at) != Some(&Token::Colons) {
                break;
            }
            at += 1;
        }
        let mut alias = None;
        if let (Some(Token::Name(word)), Some(Token::Name(name))) = (self.token(at), self.token(at + 1))
            && word == "as"
        {
            alias = Some(name.clone());
            at += 2;
        }
        found.push(Path { line, parts, alias, exported });
        at
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(_, token)| token)
    }

    /// The paths that begin with the name at `at`, after what was read of them; answers where
    /// they end.
    fn paths(&self, mut at: usize, mut path: String, found: &mut Vec<(usize, Use)>) -> usize {
        let line = self.tokens[at].0;
        while let Some(Token::Name(name)) = self.token(at) {
            path.push_str(name);
            at += 1;
            if self.token(at) != Some(&Token::Colons) {
                break;
            }
            path.push_str("::");
            at += 1;
        }
        if self.token(at) == Some(&Token::Other('{')) && path.ends_with("::") {
            at += 1;
            while !matches!(self.token(at), None | Some(Token::Other('}'))) {
                at = match self.token(at) {
                    Some(Token::Name(_)) => self.paths(at, path.clone(), found),
                    _ => at + 1,
                };
            }
            return at + 1;
        }
        let parts: Vec<&str> = path.trim_end_matches("::").split("::").collect();
        // The files of `support` are modules of their own.
        if let ["crate" | "be8" | "super", rest @ ..] = &parts[..]
            && let Some(module) = rest.iter().find(|part| !["super", "support"].contains(part))
        {
            found.push((line, Use::Module((*module).to_owned())));
        }
        found.push((line, Use::Path(parts.join("::"))));
        at
    }
}

/// The tokens of a text with their lines.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end > at {
            line += chars[at..end].iter().filter(|c| **c == '\n').count();
            at = end;
        } else if is_name(chars[at]) {
            let end = (at..chars.len()).find(|&i| !is_name(chars[i])).unwrap_or(chars.len());
            out.push((line, Token::Name(chars[at..end].iter().collect())));
            at = end;
        } else if chars[at..].starts_with(&[':', ':']) {
            out.push((line, Token::Colons));
            at += 2;
        } else {
            if chars[at] == '\n' {
                line += 1;
            } else if !chars[at].is_whitespace() {
                out.push((line, Token::Other(chars[at])));
            }
            at += 1;
        }
    }
    out
}

/// Where the comment, text or character that begins at `at` ends; `at` itself if none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let find = |from: usize, what: &[char]| {
        (from..chars.len()).find(|&i| chars[i..].starts_with(what)).map_or(chars.len(), |i| i + what.len())
    };
    match rest {
        ['/', '/', ..] => find(at, &['\n']) - 1,
        ['/', '*', ..] => {
            let (mut depth, mut i) = (1, at + 2);
            while depth > 0 && i < chars.len() {
                match &chars[i..] {
                    ['/', '*', ..] => (depth, i) = (depth + 1, i + 2),
                    ['*', '/', ..] => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
            }
            i
        }
        ['r', next @ ('"' | '#'), ..] if *next == '"' || rest.iter().skip(1).find(|c| **c != '#') == Some(&'"') => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            find(at + hashes + 2, &end)
        }
        ['"', ..] => {
            let mut i = at + 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            (i + 1).min(chars.len())
        }
        ['\'', '\\', ..] => find(at + 3, &['\'']),
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}
