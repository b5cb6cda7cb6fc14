//! What URLs are understood as, and what is refused by name.

use super::*;

fn parsed(url: &str) -> Address {
    Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn refused(url: &str) -> String {
    Address::parse(url).expect_err(url).to_string()
}

#[test]
fn one_host_with_everything() {
    let address =
        parsed("postgresql://an%40na:p%2Fw:@db.example:6000/chat?sslmode=require&connect_timeout=7&application_name=x");
    let [host] = &address.hosts[..] else { panic!("one host") };
    assert_eq!((host.get_host(), host.get_port(), host.get_username()), ("db.example", 6000, "an@na"));
    assert_eq!((host.get_database(), host.get_application_name()), (Some("chat"), Some("x")));
    assert!(matches!(host.get_ssl_mode(), PgSslMode::Require));
    assert_eq!((address.target, address.connect_timeout), (Target::Any, Duration::from_secs(7)));
    assert_eq!(address.describe(), "chat at db.example:6000");
    assert!(!format!("{address:?}").contains("p/w"));
}

#[test]
fn several_hosts_in_all_ways() {
    for url in [
        "postgres://u@a:1,b:2/d?target_session_attrs=read-write",
        "postgres://u@/d?host=a,b&port=1,2&target_session_attrs=primary",
        "postgres:///d?user=u&host=a,b&port=1,2&target_session_attrs=primary",
    ] {
        let address = parsed(url);
        let places: Vec<_> = address.hosts.iter().map(place).collect();
        assert_eq!((places, address.target), (vec!["a:1".to_owned(), "b:2".to_owned()], Target::Writable), "{url}");
    }
    let address = parsed("postgres://u@[2001:db8::1]:7,[::1],c/d?port=9");
    assert_eq!(address.hosts.iter().map(place).collect::<Vec<_>>(), ["[2001:db8::1]:9", "[::1]:9", "c:9"]);
    let address = parsed("postgres://u@%2Frun%2Fpg:5433/d");
    assert_eq!(address.hosts[0].get_socket().map(|socket| socket.as_path()), Some(Path::new("/run/pg")));
    assert_eq!(refused("postgres://u@/d?host=a,b,c&port=1,2"), "there are 2 ports for 3 hosts");
}

#[test]
fn settings_of_the_session() {
    let settings =
        |url| parsed(url).settings.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    assert_eq!(
        settings("postgres://u@h/d?options=-c%20work_mem%3D4MB%20--search-path%3Da\\%20b&options[geqo]=off"),
        ["work_mem=4MB", "search_path=a b", "geqo=off"]
    );
    assert_eq!(
        settings("postgres://u@h/d?options=-cwork_mem=1MB+-c+jit_above_cost=1"),
        ["work_mem=1MB", "jit_above_cost=1"]
    );
    for (options, why) in [
        ("-c%20synchronous_commit=off", "synchronous_commit is set by be8 itself"),
        ("--synchronous-commit=off", "synchronous_commit is set by be8 itself"),
        ("-c%20Default_Transaction_Isolation=serializable", "default_transaction_isolation is set by be8 itself"),
        ("-c%20session_replication_role=replica", "session_replication_role is set by be8 itself"),
        ("-c%20a%27b=1", "is no name of a setting"),
        ("-e", "only -c name=value is"),
        ("-c", "is not name=value"),
    ] {
        let message = refused(&format!("postgres://u@h/d?options={options}"));
        assert!(message.contains(why), "{options}: {message}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (query, why) in [
        ("sslmode=verify-ca", "sslmode=verify-ca is not supported"),
        ("sslmode=allow", "sslmode=allow is not supported"),
        ("sslmode=on", "sslmode=on is not supported"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system goes with sslmode=verify-full, not with require"),
        ("sslrootcert=/nowhere/ca.pem&sslmode=verify-full", "sslrootcert: /nowhere/ca.pem: No such file"),
        ("sslrootcert=/nowhere/ca.pem", "only looked at with sslmode=verify-full"),
        ("sslcert=/etc/hostname", "sslcert and sslkey go together"),
        ("target_session_attrs=master", "target_session_attrs=master is not supported"),
        ("connect_timeout=soon", "connect_timeout is not a number"),
        ("keepalives_idle=5", "the parameter keepalives_idle is not supported"),
        ("channel_binding=require", "channel_binding=require is not supported"),
        ("load_balance_hosts=random", "load_balance_hosts=random is not supported"),
        ("service=x", "the parameter service is not supported"),
        ("pgbouncer=true", "there is no parameter \"pgbouncer\""),
        ("sslmode", "has no value"),
        ("port=0", "\"0\" is no port"),
        ("host=a&hostaddr=127.0.0.1", "host and hostaddr together"),
    ] {
        let message = refused(
            &format!("postgres://u:hushhush@h/d?{query}")
                .replace("@h/", if query.contains("host") { "@/" } else { "@h/" }),
        );
        assert!(message.contains(why), "{query}: {message}");
        assert!(!message.contains("hushhush"), "{message}");
    }
    assert!(refused("mysql://h/d").contains("does not begin with postgres://"));
    assert!(refused("host=a dbname=b").contains("does not begin with postgres://"));
    let system = parsed("postgres://u@h/d?sslrootcert=system");
    assert!(matches!(system.hosts[0].get_ssl_mode(), PgSslMode::VerifyFull));
}

#[test]
fn every_parameter_of_the_table_is_one_of_three() {
    for (name, known) in PARAMETERS {
        let message = Address::parse(&format!("postgres://u@h/d?{name}=%00")).err().map(|error| error.to_string());
        match known {
            Known::Understood(_) => assert!(!message.unwrap_or_default().contains("is not supported: be8"), "{name}"),
            Known::Only(_) | Known::Refused(_) => {
                assert!(message.is_some_and(|message| message.contains(name)), "{name}")
            }
        }
    }
}
