//! What the files of a site look like over HTTP.

use std::fs;

use poem::IntoResponse as _;

use super::*;

const KEY: &str = "BPlaceholderOfOurOwnPublicKeyForPushesxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// A built client, as its build leaves it.
fn client() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("prod/index.html", b"<!doctype html><title>be8</title>");
    write("prod/bundle.js", format!("const key = '{BUILT_IN_KEY}';{}", " // be8\n".repeat(300)).as_bytes());
    write("prod/serviceworker.js", b"self;");
    write("dev/index.html", b"<!doctype html><title>dev</title>");
    write("assets/sounds/received.mp3", &(0..=255).collect::<Vec<u8>>());
    write("assets/webfonts/lato.woff2", b"wOF2");
    write("assets/misc/manifest.json", b"{}");
    write("assets/img/a b.png", b"png");
    write(".env", b"secret");
    write("prod/.git/config", b"secret");
    write("prod/ME", b"in the way of a route");
    write("prod/docs/index.html", b"in the way of a page");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("prod/passwd")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("assets/etc")).unwrap();
    folder
}

fn site(folder: &Path) -> Site {
    let settings = SiteSettings { client: Some(folder.to_owned()), insights: None };
    Site::load(settings, Some(KEY.to_owned()), crate::http::taken()).unwrap()
}

async fn ask(site: &Site, method: Method, path: &str, asked: &[(&str, &str)]) -> (u16, Response, Vec<u8>) {
    let mut request = Request::builder().method(method).uri_str(path);
    for (name, value) in asked {
        request = request.header(*name, *value);
    }
    let mut answer = match site.answer(&request.finish()) {
        Ok(file) => file.unwrap_or_else(|| StatusCode::IM_A_TEAPOT.into_response()),
        Err(refusal) => refusal.into_response(),
    };
    let body = answer.take_body().into_vec().await.unwrap();
    (answer.status().as_u16(), answer, body)
}

async fn get(site: &Site, path: &str, asked: &[(&str, &str)]) -> (u16, Response, Vec<u8>) {
    ask(site, Method::GET, path, asked).await
}

/// Shows (docs/protocol.md): Files of the web client.
#[tokio::test]
async fn files_stand_at_their_paths_and_nothing_else_does() {
    let folder = client();
    let site = site(folder.path());
    for (path, media) in [
        ("/", "text/html; charset=utf-8"),
        ("/?user=blob%3D", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/prod/", "text/html; charset=utf-8"),
        ("/dev/", "text/html; charset=utf-8"),
        ("/bundle.js?v=7", "text/javascript; charset=utf-8"),
        ("/prod/bundle.js", "text/javascript; charset=utf-8"),
        ("/serviceworker.js", "text/javascript; charset=utf-8"),
        ("/assets/sounds/received.mp3", "audio/mpeg"),
        ("/assets/webfonts/lato.woff2", "font/woff2"),
        ("/assets/misc/manifest.json", "application/json; charset=utf-8"),
        ("/assets/img/a%20b.png", "image/png"),
    ] {
        let (status, answer, body) = get(&site, path, &[]).await;
        assert_eq!((status, answer.content_type()), (200, Some(media)), "{path}");
        assert!(!body.is_empty(), "{path}");
        assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
        assert_ne!(answer.header("vary"), Some("*"), "{path}");
        let text = media.starts_with("text/") || media.starts_with("application/");
        let caching = if text { "no-cache" } else { "public, max-age=86400" };
        assert_eq!(answer.header("cache-control"), Some(caching), "{path}");
    }
    for path in [
        "/Index.html",
        "/BUNDLE.js",
        "/assets",
        "/assets/",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/prod/.git/config",
        "/passwd",
        "/assets/etc/passwd",
        "/../Cargo.toml",
        "/prod/../.env",
        "/prod/%2e%2e/.env",
        "/..%2f..%2fetc%2fpasswd",
        "/assets/..%5c.env",
        "/%00",
        "/%ff",
        "//etc/passwd",
        "/index.html/",
        "/ME",
        "/me",
        "/docs/",
        "/docs",
        "/nothing",
    ] {
        assert_eq!(get(&site, path, &[]).await.0, 418, "{path}");
    }
}

/// Shows (docs/protocol.md): Files of the web client.
#[tokio::test]
async fn a_folder_is_asked_for_with_its_slash() {
    let folder = client();
    let site = site(folder.path());
    for (path, to) in [("/prod", "/prod/"), ("/dev?x=1", "/dev/?x=1")] {
        let (status, answer, _) = get(&site, path, &[]).await;
        assert_eq!((status, answer.header("location")), (301, Some(to)));
    }
    let insights = SiteSettings { client: None, insights: Some(folder.path().join("prod")) };
    let insights = Site::load(insights, None, crate::http::taken()).unwrap();
    assert_eq!(get(&insights, "/be8insights", &[]).await.1.header("location"), Some("/be8insights/"));
    assert_eq!(get(&insights, "/be8insights/", &[]).await.0, 200);
    assert_eq!(get(&insights, "/", &[]).await.0, 418);
    let nothing = SiteSettings { client: Some(folder.path().join("assets")), insights: None };
    assert!(matches!(Site::load(nothing, None, crate::http::taken()), Err(SiteError::NoIndex(_))));
}

/// Shows (docs/protocol.md): Pushes.
#[tokio::test]
async fn the_key_for_pushes_is_ours_where_we_have_one() {
    let folder = client();
    assert_eq!((BUILT_IN_KEY.len(), KEY.len()), (87, 87));
    let ours = String::from_utf8(get(&site(folder.path()), "/bundle.js", &[]).await.2).unwrap();
    assert!(ours.contains(KEY) && !ours.contains(BUILT_IN_KEY));
    let settings = SiteSettings { client: Some(folder.path().to_owned()), insights: None };
    let none = Site::load(settings, None, crate::http::taken()).unwrap();
    let (_, answer, theirs) = get(&none, "/bundle.js", &[]).await;
    assert!(String::from_utf8(theirs).unwrap().contains(BUILT_IN_KEY));
    // Another program has another tag, or else browsers would keep the old one.
    assert_ne!(answer.header("etag"), get(&site(folder.path()), "/bundle.js", &[]).await.1.header("etag"));
}

/// Shows (docs/protocol.md): Files of the web client.
#[tokio::test]
async fn parts_of_a_file() {
    let folder = client();
    let site = site(folder.path());
    let sound = "/assets/sounds/received.mp3";
    let tag = get(&site, sound, &[]).await.1.header("etag").unwrap().to_owned();
    for (range, status, part, body) in [
        ("bytes=0-", 206, Some("bytes 0-255/256"), (0..=255).collect::<Vec<u8>>()),
        ("bytes=0-0", 206, Some("bytes 0-0/256"), vec![0]),
        ("bytes=250-999", 206, Some("bytes 250-255/256"), (250..=255).collect()),
        ("bytes=-3", 206, Some("bytes 253-255/256"), vec![253, 254, 255]),
        ("bytes=-999", 206, Some("bytes 0-255/256"), (0..=255).collect()),
        ("bytes=256-", 416, Some("bytes */256"), vec![]),
        ("bytes=-0", 416, Some("bytes */256"), vec![]),
        ("bytes=5-2", 200, None, (0..=255).collect()),
        ("bytes=+1-2", 200, None, (0..=255).collect()),
        ("bytes=0-1,4-5", 200, None, (0..=255).collect()),
        ("lines=0-1", 200, None, (0..=255).collect()),
    ] {
        let (got, answer, bytes) = get(&site, sound, &[("range", range)]).await;
        assert_eq!((got, answer.header("content-range")), (status, part), "{range}");
        assert_eq!(bytes, body, "{range}");
    }
    assert_eq!(get(&site, sound, &[("range", "bytes=0-0"), ("if-range", &tag)]).await.0, 206);
    assert_eq!(get(&site, sound, &[("range", "bytes=0-0"), ("if-range", "\"another\"")]).await.0, 200);
    // A part of a text is one of the text, not of what is compressed.
    let asked = [("range", "bytes=0-4"), ("accept-encoding", "gzip")];
    let (status, answer, bytes) = get(&site, "/bundle.js", &asked).await;
    assert_eq!((status, answer.header("content-encoding"), &bytes[..]), (206, None, &b"const"[..]));
}

/// Shows (docs/protocol.md): Files of the web client.
#[tokio::test]
async fn what_a_browser_knows_is_not_sent_again() {
    let folder = client();
    let site = site(folder.path());
    for coding in ["", "gzip"] {
        let (status, first, _) = get(&site, "/bundle.js", &[("accept-encoding", coding)]).await;
        assert_eq!(status, 200);
        assert_eq!(first.header("content-encoding"), (coding == "gzip").then_some("gzip"));
        assert_eq!(first.header("vary"), Some("accept-encoding"));
        let tag = first.header("etag").unwrap();
        let (status, again, body) =
            get(&site, "/bundle.js", &[("accept-encoding", coding), ("if-none-match", tag)]).await;
        assert_eq!((status, body.len(), again.header("etag")), (304, 0, Some(tag)));
        assert_eq!(again.header("cache-control"), Some("no-cache"));
        let weak = format!("\"x\", W/{tag}");
        assert_eq!(get(&site, "/bundle.js", &[("if-none-match", &weak)]).await.0, 304);
        assert_eq!(get(&site, "/bundle.js", &[("if-none-match", "\"x\"")]).await.0, 200);
        let date = first.header("last-modified").unwrap();
        assert_eq!(get(&site, "/bundle.js", &[("if-modified-since", date)]).await.0, 304);
        let long_ago = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(get(&site, "/bundle.js", &[("if-modified-since", long_ago)]).await.0, 200);
        // The tag decides where both are given (RFC 9110, section 13.1.3).
        let both = [("if-none-match", "\"x\""), ("if-modified-since", date)];
        assert_eq!(get(&site, "/bundle.js", &both).await.0, 200);
    }
}

#[tokio::test]
async fn files_are_read_not_written() {
    let folder = client();
    let site = site(folder.path());
    let (status, answer, _) = ask(&site, Method::POST, "/bundle.js", &[]).await;
    assert_eq!((status, answer.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(ask(&site, Method::HEAD, "/bundle.js", &[]).await.0, 200);
}

#[tokio::test]
async fn files_are_reloaded_on_request_and_stay_if_that_fails() {
    let folder = client();
    let site = site(folder.path());
    fs::write(folder.path().join("prod/index.html"), "<title>new</title>").unwrap();
    assert_eq!(get(&site, "/", &[]).await.2, b"<!doctype html><title>be8</title>");
    site.reload().unwrap();
    assert_eq!(get(&site, "/", &[]).await.2, b"<title>new</title>");
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(matches!(site.reload(), Err(SiteError::Read { .. })));
    assert_eq!(get(&site, "/", &[]).await.2, b"<title>new</title>");
}
