//! Transactions, nested ones and those that the store has no word for included.

use super::*;
use store::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use store::rpc::request_op::Request;
use store::rpc::response_op::Response;
use store::rpc::{Compare, RequestOp, TxnRequest, TxnResponse};

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn write(key: &str, value: &str) -> RequestOp {
    op(Request::RequestPut(put(key, value)))
}

fn read(key: &str) -> RequestOp {
    op(Request::RequestRange(RangeRequest { key: bytes(key), ..Default::default() }))
}

fn remove(key: &str) -> RequestOp {
    op(Request::RequestDeleteRange(DeleteRangeRequest { key: bytes(key), ..Default::default() }))
}

fn value(key: &str, result: CompareResult, than: &str) -> Compare {
    Compare {
        result: result.into(),
        target: CompareTarget::Value.into(),
        key: bytes(key),
        target_union: Some(TargetUnion::Value(bytes(than))),
        ..Default::default()
    }
}

fn created(key: &str, result: CompareResult, than: i64) -> Compare {
    Compare {
        result: result.into(),
        target: CompareTarget::Create.into(),
        key: bytes(key),
        target_union: Some(TargetUnion::CreateRevision(than)),
        ..Default::default()
    }
}

fn txn(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare, success, failure }
}

/// What a transaction did, in short.
fn shape(answer: &TxnResponse) -> String {
    let one = |op: &store::rpc::ResponseOp| match op.response.as_ref().unwrap() {
        Response::ResponsePut(answer) => format!("put@{}", answer.header.as_ref().unwrap().revision),
        Response::ResponseRange(answer) => format!("[{}]", lines(answer)),
        Response::ResponseDeleteRange(answer) => format!("del{}", answer.deleted),
        Response::ResponseTxn(answer) => format!("({})", shape(answer)),
    };
    let ops: Vec<_> = answer.responses.iter().map(one).collect();
    format!("{} {}", if answer.succeeded { "yes" } else { "no" }, ops.join(" "))
}

impl Fixture {
    async fn txn(&self, request: TxnRequest) -> Result<String, Status> {
        let answer = self.kv().txn(request).await?.into_inner();
        assert!(answer.header.as_ref().unwrap().member_id != 0);
        Ok(shape(&answer))
    }
}

#[tokio::test]
async fn plain() {
    use CompareResult::*;
    let fixture = Fixture::new().await;
    let create = || {
        let absent = vec![created("k", Equal, 0)];
        txn(absent, vec![write("k", "1"), read("k")], vec![read("k")])
    };
    assert_eq!(fixture.txn(create()).await.unwrap(), "yes put@2 [k=1]", "it reads what it wrote");
    assert_eq!(fixture.txn(create()).await.unwrap(), "no [k=1]");
    let request = txn(vec![value("k", Less, "2")], vec![remove("k"), write("l", "2")], vec![]);
    assert_eq!(fixture.txn(request).await.unwrap(), "yes del1 put@3");
    assert_eq!(fixture.all().await, "l=2");
    assert_eq!(fixture.txn(TxnRequest::default()).await.unwrap(), "yes ");
}

#[tokio::test]
async fn not_equal() {
    use CompareResult::*;
    let fixture = Fixture::new().await;
    fixture.put("k", "1").await;
    let request = |compare| txn(vec![compare], vec![write("k", "2")], vec![read("k")]);
    assert_eq!(fixture.txn(request(value("k", NotEqual, "1"))).await.unwrap(), "no [k=1]");
    assert_eq!(fixture.txn(request(value("k", NotEqual, "0"))).await.unwrap(), "yes put@3");
    // A value that does not exist is not even unequal.
    assert_eq!(fixture.txn(request(value("x", NotEqual, "1"))).await.unwrap(), "no [k=2]");
    assert_eq!(fixture.txn(request(created("x", NotEqual, 0))).await.unwrap(), "no [k=2]");
    assert_eq!(fixture.txn(request(created("x", NotEqual, 4))).await.unwrap(), "yes put@4");
}

#[tokio::test]
async fn nested() {
    use CompareResult::*;
    let fixture = Fixture::new().await;
    fixture.put("a", "1").await;
    let inner = txn(vec![value("a", Equal, "1")], vec![write("c", "yes"), read("b")], vec![write("c", "no")]);
    let request = txn(
        vec![],
        vec![write("a", "2"), write("b", "x"), op(Request::RequestTxn(inner)), read("a")],
        vec![],
    );
    // All conditions are decided before the first operation, as in etcd: `a` was still 1.
    assert_eq!(fixture.txn(request).await.unwrap(), "yes put@3 put@3 (yes put@3 [b=x]) [a=2]");
    assert_eq!(fixture.all().await, "a=2 b=x c=yes");
}

#[tokio::test]
async fn refusals_are_etcds() {
    let fixture = Fixture::new().await;
    let twice = txn(vec![], vec![write("a", "1"), write("a", "2")], vec![]);
    assert_eq!(
        refusal(fixture.txn(twice).await),
        "InvalidArgument: etcdserver: duplicate key given in txn request"
    );
    let many = txn(vec![], (0..129).map(|n| write(&format!("k{n}"), "v")).collect(), vec![]);
    assert_eq!(
        refusal(fixture.txn(many).await),
        "InvalidArgument: etcdserver: too many operations in txn request"
    );
    let ranged = Compare { range_end: bytes("z"), ..value("a", CompareResult::Equal, "1") };
    let ranged = refusal(fixture.txn(txn(vec![ranged], vec![], vec![])).await);
    assert!(ranged.starts_with("Unimplemented: ") && ranged.contains("key by key"), "{ranged}");
    let empty = txn(vec![value("", CompareResult::Equal, "1")], vec![], vec![]);
    assert_eq!(refusal(fixture.txn(empty).await), "InvalidArgument: etcdserver: key is not provided");
}

/// Decided in the front, and still atomic: nobody's increment is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_front_decides_is_atomic() {
    let fixture = Fixture::new().await;
    fixture.put("n", "").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut kv = fixture.kv();
        tasks.spawn(async move {
            for _ in 0..10 {
                loop {
                    let found = kv.range(from("n")).await.unwrap().into_inner();
                    let now = text(&found.kvs[0].value).to_owned();
                    // Not unequal to what was read: the branch that failed is the one that writes.
                    let unequal = value("n", CompareResult::NotEqual, &now);
                    let request = txn(vec![unequal], vec![], vec![write("n", &format!("{now}x"))]);
                    if !kv.txn(request).await.unwrap().into_inner().succeeded {
                        break;
                    }
                }
            }
        });
    }
    while let Some(done) = soon(tasks.join_next()).await {
        done.unwrap();
    }
    assert_eq!(fixture.all().await, format!("n={}", "x".repeat(80)));
}
