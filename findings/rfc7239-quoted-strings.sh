#!/usr/bin/env bash
# Expected: the parsers of crates.io for the header Forwarded (RFC 7239) read the forms that its grammar allows.
# What happens: both split quoted strings at commas and semicolons (section 4: a value is a token or a quoted-string) and refuse
# obfuscated ports ("_port"); the first also refuses hyphens in obfuscated names (section 6.3: obfnode = "_" 1*( ALPHA / DIGIT /
# "." / "_" / "-")). A valid header is then an error.
# Packages: rfc7239 0.1.3 (the newest), forwarded-header-value 0.1.1 (the newest). Seen on 2026-11-30.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "forms"
version = "0.0.0"
edition = "2021"
[dependencies]
rfc7239 = "=0.1.3"
forwarded-header-value = "=0.1.1"
[workspace]
TOML
cat > src/main.rs <<'RUST'
fn main() {
    for line in [
        r#"for=192.0.2.1;by=203.0.113.1"#,
        r#"for=192.0.2.1;secret="a,b""#,
        r#"for=192.0.2.1;secret="a;b""#,
        r#"for="192.0.2.1:_port""#,
        r#"for="_gw-1""#,
    ] {
        let one = rfc7239::parse(line).collect::<Result<Vec<_>, _>>();
        let one = one.map(|hops| hops.len()).map_err(|error| error.to_string());
        let other = forwarded_header_value::ForwardedHeaderValue::from_forwarded(line);
        let other = other.map(|hops| hops.len()).map_err(|error| error.to_string());
        println!("{line}\n  rfc7239: {one:?}\n  forwarded-header-value: {other:?}");
    }
}
RUST
cargo run --quiet > seen
cat seen
diff - seen <<'SEEN'
for=192.0.2.1;by=203.0.113.1
  rfc7239: Ok(1)
  forwarded-header-value: Ok(1)
for=192.0.2.1;secret="a,b"
  rfc7239: Err("Parameter doesn't consist of key value pair")
  forwarded-header-value: Err("Stanza contained illegal part b\"")
for=192.0.2.1;secret="a;b"
  rfc7239: Err("Parameter doesn't consist of key value pair")
  forwarded-header-value: Err("Stanza contained illegal part b\"")
for="192.0.2.1:_port"
  rfc7239: Err("Invalid node port")
  forwarded-header-value: Err("Identifier specified uses an obfuscated node (\"192.0.2.1:_port\") that is invalid")
for="_gw-1"
  rfc7239: Err("Invalid node identifier")
  forwarded-header-value: Ok(1)
SEEN
