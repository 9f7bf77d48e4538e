//! Two users and an S3 server: moto, a program of its own that speaks S3 over HTTP.
//!
//! `RETMASK_MOTO` names its `moto_server`; `scripts/test` installs it.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::model_free;
use support::workspace::{Workspace, parse, stages_with};

const KEY: &str = "AKIAOFTHETEST0000000";
const SECRET: &str = "the/very+secret=key/of+the=test";
const NONE: Vec<String> = Vec::new();

/// A running server, killed when dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts it and makes a bucket `team`.
    fn start() -> Self {
        let program = std::env::var_os("RETMASK_MOTO").expect("RETMASK_MOTO names moto_server");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { process: command.spawn().expect("moto_server starts"), port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(120), "moto_server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(server.ask("PUT", "/team").starts_with("HTTP/1.1 200"));
        server
    }

    /// The head of the answer to a request without a body.
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server");
        let authorization = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nAuthorization: {authorization}\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The program as a user of the bucket.
    fn command(&self, user: &Workspace, arguments: &[&str]) -> Command {
        let mut command = user.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_REGION", "us-east-1");
        command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)).env("AWS_ALLOW_HTTP", "true");
        command.env("RETMASK_REMOTE", "s3://team/projects/retmask");
        command
    }

    fn events(&self, user: &Workspace, arguments: &[&str]) -> Vec<Value> {
        let output = self.command(user, &[arguments, &["--json"]].concat()).output().expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        parse(&String::from_utf8(output.stdout).expect("UTF-8"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs moto_server; scripts/test runs it"]
fn the_second_user_of_a_bucket_computes_nothing() {
    let server = Server::start();
    let (ana, ben) = (model_free::workspace(), model_free::workspace());
    // 40 MB of generated text, so that an object is sent and read in pieces.
    let run =
        ["run", "pipeline.yaml", "--require-remote", "--set", "params.needles=150", "--set", "params.haystack=100000"];
    let events = server.events(&ana, &run);
    assert_eq!(stages_with(&events, "stage-started"), ["data", "mask", "random"]);
    assert_eq!(stages_with(&events, "remote-stored"), ["data", "mask", "random"]);
    let sent: u64 = events
        .iter()
        .filter(|event| event["event"] == "remote-stored")
        .filter_map(|event| event["bytes"].as_u64())
        .sum();
    let events = server.events(&ben, &run);
    assert_eq!(stages_with(&events, "stage-started"), NONE, "the second user computes nothing");
    assert_eq!(stages_with(&events, "remote-fetched"), ["data", "mask", "random"]);
    assert_eq!(ben.digests(), ana.digests());
    ben.succeeds(&["cache", "verify"]);
    assert_eq!(ben.bytes_in("cas"), sent);
    assert_eq!(server.ask("HEAD", "/team/projects/retmask/VERSION").lines().next(), Some("HTTP/1.1 200 OK"));
    for user in [&ana, &ben] {
        assert_eq!((user.files_with(SECRET), user.files_with(KEY)), (NONE, NONE));
    }
    println!("{sent} bytes went over S3");
}

#[test]
#[ignore = "needs moto_server; scripts/test runs it"]
fn runs_are_pushed_and_pulled_and_eight_users_push_the_same_at_once() {
    let server = Server::start();
    let users: Vec<Workspace> = (0..8).map(|_| model_free::workspace()).collect();
    let children: Vec<Child> = users
        .iter()
        .map(|user| {
            let mut command = server.command(user, &["run", "pipeline.yaml", "--require-remote"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("its end");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let push = server.command(&users[0], &["cache", "push", "latest"]).output().expect("the program starts");
    assert!(push.status.success(), "{}", String::from_utf8_lossy(&push.stderr));
    let told = String::from_utf8_lossy(&push.stdout).into_owned();
    assert_eq!(told.matches("there already").count(), 3, "{told}");
    let run = users[0].latest_run().file_name().expect("a name").to_string_lossy().into_owned();
    let late = model_free::workspace();
    let pull = server.command(&late, &["cache", "pull", &run]).output().expect("the program starts");
    assert!(pull.status.success(), "{}", String::from_utf8_lossy(&pull.stderr));
    assert_eq!(late.digests(), users[0].digests());
    assert_eq!(stages_with(&server.events(&late, &["run", "pipeline.yaml"]), "stage-started"), NONE);
    late.succeeds(&["cache", "verify"]);
}
