//! The table of all paths: what is declared for each of them, found by the path that a request names.

use std::collections::HashMap;

use poem::http::{HeaderValue, Method};

use crate::http::document::operation::{ErrorStyle, LimitClass};

/// What is declared for one path.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The path in its canonical case, without a slash at its end. A path with parameters, such
    /// as `/threads/{id}`, has its methods checked, but matches as the routes inside decide.
    pub path: String,
    /// The methods that the service inside answers there.
    pub methods: Vec<Method>,
    /// HEAD is answered like GET, without a body. Only for routes that read.
    pub head: bool,
    /// Some operation on this path accepts a session.
    pub session: bool,
    /// The methods that are refused when another site makes a browser send them.
    pub guarded: Vec<Method>,
    /// How errors are reported.
    pub errors: ErrorStyle,
    /// What limits requests.
    pub limit: LimitClass,
    /// Bodies are large and take turns.
    pub large_bodies: bool,
    /// Something is changed by GET: browsers must not navigate to it.
    pub changes_by_get: bool,
}

impl Rule {
    /// A page, which is read by GET and HEAD.
    pub(in crate::http) fn page(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            methods: vec![Method::GET],
            head: true,
            session: false,
            guarded: Vec::new(),
            errors: ErrorStyle::Own,
            limit: LimitClass::Usual,
            large_bodies: false,
            changes_by_get: false,
        }
    }

    /// The path has parameters.
    pub(in crate::http) fn is_template(&self) -> bool {
        self.path.contains('{')
    }

    /// The value of `Allow`.
    pub(in crate::http) fn allow(&self) -> HeaderValue {
        let head = self.head.then_some("HEAD");
        let names: Vec<&str> = self.methods.iter().map(Method::as_str).chain(head).collect();
        // Method names are tokens, which a header value may always hold.
        HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The rules of all paths. A known path is matched without regard to case and with or without one slash at its end.
#[derive(Debug, Default)]
pub struct Paths {
    /// By path in lower case.
    exact: HashMap<String, &'static Rule>,
    /// Those with parameters.
    templates: Vec<&'static Rule>,
}

impl Paths {
    /// The table of these rules; a later one for the same path replaces an earlier one. They are made once, when the server
    /// starts, and stay until it ends.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules = rules.into_iter().map(|rule| &*Box::leak(Box::new(rule)));
        let (templates, exact): (Vec<&Rule>, Vec<&Rule>) = rules.partition(|rule| rule.is_template());
        let exact = exact.into_iter().map(|rule| (rule.path.to_ascii_lowercase(), rule)).collect();
        Self { exact, templates }
    }

    /// The rule for a path as it was sent.
    pub(in crate::http) fn find(&self, path: &str) -> Option<&'static Rule> {
        let bare = match path.strip_suffix('/') {
            None | Some("") => path,
            Some(rest) => rest,
        };
        let Self { exact, templates } = self;
        exact
            .get(bare)
            .or_else(|| exact.get(&bare.to_ascii_lowercase()))
            .or_else(|| templates.iter().find(|rule| matches(&rule.path, path)))
            .copied()
    }
}

/// Whether a path with parameters fits a path that was sent.
fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut sent) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), sent.next()) {
            (None, None) => return true,
            (Some(part), Some(value)) if fits(part, value) => {}
            _ => return false,
        }
    }
}

/// Whether a part of a template, such as `{number}.p`, fits a part of a path.
fn fits(part: &str, value: &str) -> bool {
    let around = part.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1)));
    match around {
        None => part == value,
        Some((before, after)) => value
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|inside| !inside.is_empty()),
    }
}
