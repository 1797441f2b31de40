//! Against the kernel, in a network namespace of the test's own; what it holds then is read back with `nft`.

use super::*;
use std::net::Ipv4Addr;

fn sample() -> Batch {
    let mut batch = Batch::new("t");
    batch.add_table();
    let hook = Hook { kind: "nat", number: 0, priority: -100 };
    batch.add_chain(&Chain { name: "pre".into(), hook: Some(hook) });
    batch.add_chain(&Chain { name: "svc".into(), hook: None });
    batch.add_chain(&Chain { name: "end".into(), hook: None });
    let key = vec![DataType::Ipv4, DataType::Protocol, DataType::Port];
    batch.add_set(&Set { name: "ips".into(), key, verdicts: true, timeout: None });
    batch.add_set(&Set {
        name: "seen".into(),
        key: vec![DataType::Ipv4],
        verdicts: false,
        timeout: Some(10_000),
    });
    let (a, b, c) = (Register(0), Register(1), Register(2));
    batch.add_rule(
        "pre",
        &[
            Expression::DestinationAddress(a),
            Expression::Protocol(b),
            Expression::DestinationPort(c),
            Expression::VerdictMap("ips".into(), a),
        ],
    );
    batch.add_rule(
        "pre",
        &[Expression::DestinationIsLocal(a), Expression::Verdict(Verdict::Jump("svc".into()))],
    );
    batch.add_random_rule("svc", &[Verdict::Goto("end".into()), Verdict::Goto("end".into())]);
    batch.add_rule(
        "end",
        &[
            Expression::SourceAddress(a),
            Expression::Remember("seen".into(), a, 10_000),
            Expression::Protocol(a),
            Expression::Equal(a, vec![6]),
            Expression::Load(a, vec![10, 0, 0, 5]),
            Expression::Load(b, vec![0x1f, 0x90]),
            Expression::DestinationNat(a, b),
        ],
    );
    let key =
        [part(&Ipv4Addr::new(10, 96, 0, 1).octets()), part(&[6]), part(&443_u16.to_be_bytes())].concat();
    batch.add_elements("ips", &[(key, Some(Verdict::Goto("svc".into())))]);
    batch
}

#[test]
fn the_kernel_holds_what_was_sent() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped the_kernel_holds_what_was_sent: needs root");
        return;
    }
    let listed = std::thread::spawn(|| {
        crate::namespace::unshare(&[crate::namespace::Kind::Network]).unwrap();
        apply(&sample()).unwrap();
        let mut bad = Batch::new("t");
        bad.add_rule("nope", &[Expression::Reject]);
        let error = apply(&bad).unwrap_err().to_string();
        assert!(error.contains("chain nope"), "{error}");
        let found = contents("t").unwrap();
        assert_eq!(found.chains.iter().collect::<Vec<_>>(), ["end", "pre", "svc"]);
        assert_eq!(found.sets.iter().collect::<Vec<_>>(), ["ips", "seen"]);
        assert!(contents("other").unwrap().is_empty());
        std::process::Command::new("nft").args(["list", "ruleset"]).output()
    });
    let Ok(output) = listed.join().unwrap() else {
        eprintln!("skipped the_kernel_holds_what_was_sent: nft is not installed to read back with");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "type nat hook prerouting priority dstnat; policy accept;",
        "type ipv4_addr . inet_proto . inet_service : verdict",
        "10.96.0.1 . tcp . 443 : goto svc",
        "ip daddr . meta l4proto . th dport vmap @ips",
        "fib daddr type local jump svc",
        "numgen random mod 2 vmap { 0 : goto end, 1 : goto end }",
        "update @seen { ip saddr timeout 10s }",
        "dnat to 10.0.0.5:8080",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing from:\n{text}");
    }
}
