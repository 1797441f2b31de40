//! Attach, exec and logs through a stock kubectl: input, output, terminals and their size, exit codes, and what was
//! written before, since and across rotations.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod busybox;
mod registry;
mod support;

use busybox::apply;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::kubectl;
use testkit::cluster::Cluster;

/// A program in a terminal of its own, as a user types into.
struct Typist {
    child: Child,
    terminal: File,
    seen: String,
}

impl Typist {
    fn start(cluster: &Cluster, arguments: &[&str], rows: u16, columns: u16) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let slave = || {
            let opened = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
            Stdio::from(opened.unwrap())
        };
        let terminal = File::from(terminal);
        resize(&terminal, rows, columns);
        // Its controlling terminal, so that it is told of a new size.
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait", "kubectl", "--kubeconfig"])
            .arg(cluster.kubeconfig())
            .args(arguments);
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        Self { child, terminal, seen: String::new() }
    }

    fn types(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` has come, and forgets everything up to it.
    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap();
            let ready = poll(&mut [PollFd::new(&self.terminal, PollFlags::IN)], Some(&timeout)).unwrap();
            assert!(ready > 0, "{text:?} did not come, but {:?}", self.seen);
            let mut buffer = [0; 4096];
            let length = self.terminal.read(&mut buffer).unwrap_or(0);
            assert!(length > 0, "the program ended before {text:?} came: {:?}", self.seen);
            self.seen += &String::from_utf8_lossy(&buffer[..length]);
        }
    }

    fn ends(mut self) -> Option<i32> {
        // What still comes is read, so that it never waits for that.
        let mut terminal = self.terminal.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut terminal, &mut std::io::sink()));
        self.child.wait().unwrap().code()
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

const TALKERS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: terminal}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sh, -c, "stty -echo; while read line; do if [ \"$line\" = wait ]; then until [ \"$(stty size)\" = '21 61' ]; do sleep 0.1; done; fi; echo \"[$line $(stty size)]\"; done"], stdin: true, tty: true}]
---
apiVersion: v1
kind: Pod
metadata: {name: pipes}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers: [{name: c, image: IMAGE, command: [sh, -c, "while read line; do echo out $line; echo err $line >&2; done; echo over; exit 5"], stdin: true, stdinOnce: true}]
"#;

#[test]
fn terminals_and_pipes_are_passed_on() {
    let Some(cluster) = busybox::cluster("terminals_and_pipes_are_passed_on", &["/usr/bin/setsid"]) else {
        return;
    };
    apply(&cluster, TALKERS);
    kubectl(&cluster, "wait pod/terminal pod/pipes --for=condition=Ready --timeout=30s");

    // exec -it: a terminal of the user's size that follows it, and the exit code.
    let mut typist = Typist::start(&cluster, &["exec", "-it", "pipes", "--", "sh"], 31, 91);
    typist.sees("# ");
    typist.types("stty size; tty; echo first$((40+2))\n");
    typist.sees("31 91");
    typist.sees("/dev/pts/");
    typist.sees("first42");
    resize(&typist.terminal, 44, 123);
    // The new size takes its way through three programs.
    typist.types("until stty size | grep -q '^44 123'; do sleep 0.1; done; echo grown$((40+2))\n");
    typist.sees("grown42");
    // What a terminal does: interrupt what runs.
    typist.types("echo begun$((40+2)); sleep 1000; echo rest$((40+2))\n");
    typist.sees("begun42");
    typist.types("\x03");
    typist.types("echo after$((40+2))\n");
    typist.sees("after42");
    typist.types("exit 7\n");
    assert_eq!(typist.ends(), Some(7));

    // attach -it: the container's own terminal, and detaching by leaving.
    let mut typist = Typist::start(&cluster, &["attach", "-it", "terminal"], 20, 60);
    typist.types("\n\n");
    typist.sees("20 60]");
    typist.types("hello\n");
    typist.sees("[hello 20 60]");
    resize(&typist.terminal, 21, 61);
    typist.types("wait\n");
    typist.sees("[wait 21 61]");
    typist.child.kill().unwrap();
    typist.ends();
    assert_eq!(kubectl(&cluster, "get pod terminal -o jsonpath={.status.phase}"), "Running");

    // attach -i: both streams of a container without a terminal, to the end of its input and its own.
    let mut attach = Command::new("kubectl");
    attach.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["attach", "-i", "pipes"]);
    let attach = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut attach = attach.spawn().unwrap();
    attach.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let done = attach.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "out one\nout two\nover\n");
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(errors.contains("err one\nerr two\n"), "{errors}");
    let ended = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=5";
    kubectl(&cluster, &format!("wait pod/pipes --for={ended} --timeout=20s"));

    // exec without a terminal: streams apart, input to its end, the exit code.
    let mut exec = Command::new("kubectl");
    exec.arg("--kubeconfig").arg(cluster.kubeconfig());
    exec.args(["exec", "-i", "terminal", "--", "sh", "-c", "wc -c; echo bad >&2; exit 3"]);
    let exec = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut exec = exec.spawn().unwrap();
    exec.stdin.take().unwrap().write_all(&vec![b'x'; 3_000_000]).unwrap();
    let done = exec.wait_with_output().unwrap();
    assert_eq!((String::from_utf8_lossy(&done.stdout).trim(), done.status.code()), ("3000000", Some(3)));
    assert!(String::from_utf8_lossy(&done.stderr).starts_with("bad\n"));
}

const WRITERS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: failing}
spec:
  containers: [{name: c, image: IMAGE, command: [sh, -c, "echo life of $(cat /proc/sys/kernel/random/uuid); exit 1"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: timed}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sh, -c, "echo early; echo to stderr >&2; sleep 6; echo late; sleep 1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: flooding}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sh, -c, "i=0; while [ $i -lt 900000 ]; do i=$((i+1)); echo line $i; done; echo the end; sleep 1000"]}]
"#;

#[test]
fn logs_tell_what_was_written() {
    let Some(cluster) = busybox::cluster("logs_tell_what_was_written", &[]) else { return };
    apply(&cluster, WRITERS);
    kubectl(&cluster, "wait pod/timed pod/flooding --for=condition=Ready --timeout=30s");
    // Followed from its beginning to its end, over more than one file: nothing is lost and nothing comes twice.
    let mut follow = Command::new("kubectl");
    follow.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["logs", "-f", "--tail=1", "flooding"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let output = std::io::BufReader::new(follow.stdout.take().unwrap());
    let mut last = 0;
    for line in std::io::BufRead::lines(output) {
        let line = line.unwrap();
        if line == "the end" {
            break;
        }
        let number: u64 = line.strip_prefix("line ").unwrap().parse().unwrap();
        assert!(last == 0 || number == last + 1, "{number} after {last}");
        last = number;
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert_eq!(last, 900_000);
    let uid = kubectl(&cluster, "get pod flooding -o jsonpath={.metadata.uid}");
    let dir = cluster.dir().join(format!("nodes/node-1/kubelet/logs/default_flooding_{uid}/c"));
    let files = std::fs::read_dir(dir).unwrap().count();
    assert!(files > 1, "the log was not rotated");
    assert_eq!(kubectl(&cluster, "logs flooding --tail=2"), "line 900000\nthe end\n");

    // The life before this one.
    let back = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff";
    kubectl(&cluster, &format!("wait pod/failing --for={back} --timeout=30s"));
    let (now, before) = (kubectl(&cluster, "logs failing"), kubectl(&cluster, "logs failing -p"));
    assert!(now.starts_with("life of ") && before.starts_with("life of "), "{now}{before}");
    let absent = cluster.kubectl(&["logs", "timed", "-p"]).unwrap_err().to_string();
    assert!(absent.contains(r#"previous terminated container "c" in pod "timed" not found"#), "{absent}");

    // By time, and with times.
    let logs = |flags: &str| kubectl(&cluster, &format!("logs timed {flags}"));
    let begun = Instant::now();
    while !logs("").ends_with("late\n") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", logs(""));
    }
    assert_eq!(logs(""), "early\nto stderr\nlate\n");
    assert_eq!(logs("--tail=1"), "late\n");
    assert_eq!(logs("--limit-bytes=7"), "early\nt");
    let stamped = logs("--timestamps");
    let (time, text) = stamped.lines().last().unwrap().split_once(' ').unwrap();
    assert_eq!((text, logs(&format!("--since-time={time}")).as_str()), ("late", "late\n"));
    let never = logs("--since-time=2200-01-01T00:00:00Z");
    assert_eq!((logs("--since=1h"), never), (logs(""), String::new()));
    let (time, text) = stamped.lines().next().unwrap().split_once(' ').unwrap();
    assert_eq!(text, "early");
    assert!(time.ends_with('Z') && time.len() == 30, "{time}");
    assert_eq!(logs(&format!("--since-time={time}")), logs(""));
}
