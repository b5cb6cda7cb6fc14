//! What is written in `--database-url` and in the environment.

use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::client::two_people;
use crate::cluster::fresh_database;
use crate::faults::proxy::Proxy;
use crate::patience::{eventually, within};
use crate::server::Setup;

#[tokio::test]
async fn what_is_not_understood_is_refused_by_its_name_and_without_the_password() {
    let database = fresh_database().await;
    for (parameter, why) in [
        ("keepalives_idle=5", "keepalives_idle is not supported"),
        ("sslmode=verify-ca", "sslmode=verify-ca is not supported"),
        ("target_session_attrs=standby", "asks for a standby"),
        ("options=-c%20synchronous_commit%3Doff", "synchronous_commit is set by be8 itself"),
        ("whatever=1", "there is no parameter \"whatever\""),
        ("connect_timeout=1", "database cannot be used"),
    ] {
        // Nobody listens there.
        let setup = Setup::on(&database).through(format!("postgres://be8:hushhush@127.0.0.1:1/x?{parameter}"));
        let (mut process, _printed) = setup.launch();
        let status = within("the end of the server", process.wait()).await.unwrap();
        let log = setup.log();
        assert!(!status.success() && log.contains(why) && !log.contains("hushhush"), "{parameter}: {log}");
    }
}

#[tokio::test]
async fn the_next_host_is_used_when_one_is_gone() {
    let database = fresh_database().await;
    let (one, two) = (Proxy::start(&database).await, Proxy::start(&database).await);
    let url = format!(
        "postgres://be8@127.0.0.1:{},127.0.0.1:{}/{}?sslmode=disable&target_session_attrs=read-write&connect_timeout=2",
        one.port(),
        two.port(),
        database.name
    );
    two.reachable(false);
    let server = Setup::on(&database).through(url).start().await;
    let (alice, bob, thread) = two_people(&server).await;
    for (number, (gone, back)) in [(&one, &two), (&two, &one)].into_iter().enumerate() {
        back.reachable(true);
        gone.reachable(false);
        let number = u32::try_from(number).unwrap() + 2;
        assert_eq!(alice.write(&thread, &bob, "through the other one").await, number);
        eventually("reads go there, too", async || server.get("/readyz").await.status == 200).await;
        assert_eq!(bob.messages(&thread).await.len(), number as usize);
    }
}

#[tokio::test]
async fn what_the_environment_says_of_other_databases_does_not_reach_the_private_one() {
    let server = Setup::without_database()
        .with_variable("PGOPTIONS", "-c synchronous_commit=off -c no_such_setting=1")
        .with_variable("PGHOST", "192.0.2.1")
        .with_variable("PGPORT", "1")
        .with_variable("PGUSER", "nobody")
        .with_variable("PGPASSWORD", "hushhush")
        .with_variable("PGSSLMODE", "verify-full")
        .with_variable("PGDATA", "/nowhere")
        .start()
        .await;
    let (alice, bob, thread) = two_people(&server).await;
    assert_eq!(alice.write(&thread, &bob, "durable").await, 2);
}

/// What a server says to one that asks for its password in the clear, as PostgreSQL does (its documentation, section 55.7).
async fn password_of_the_next_client(listener: &TcpListener) -> String {
    let (mut client, _) = listener.accept().await.unwrap();
    let length = client.read_u32().await.unwrap() as usize;
    let mut start = vec![0; length - 4];
    client.read_exact(&mut start).await.unwrap();
    // R, eight bytes, AuthenticationCleartextPassword.
    client.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'p');
    let length = client.read_u32().await.unwrap() as usize;
    let mut password = vec![0; length - 4];
    client.read_exact(&mut password).await.unwrap();
    password.pop();
    String::from_utf8(password).unwrap()
}

#[tokio::test]
async fn what_a_url_leaves_out_comes_from_the_environment() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let database = fresh_database().await;
    let setup = Setup::on(&database).through("postgres:///x?sslmode=disable".to_owned());
    let passfile = setup.file("pgpass");
    std::fs::write(&passfile, format!("127.0.0.1:{port}:x:anna:of the file\n")).unwrap();
    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
    let setup = setup
        .with_variable("PGHOST", "127.0.0.1")
        .with_variable("PGPORT", &port.to_string())
        .with_variable("PGUSER", "anna");
    for (variable, value, password) in [
        ("PGPASSFILE", passfile.to_str().unwrap(), "of the file"),
        ("PGPASSWORD", "of the variable", "of the variable"),
    ] {
        let (_process, _printed) = setup.clone().with_variable(variable, value).launch();
        assert_eq!(within("a password", password_of_the_next_client(&listener)).await, password, "{variable}");
    }
}
