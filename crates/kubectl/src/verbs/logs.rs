//! `logs`: what containers print.

use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, given, int, is_set, number, positional, switch, text, value};
use crate::pods::{container, containers, pods_of};
use crate::rest::JSON;
use crate::select::{self, Found, Selectors, Target};
use crate::session::{Session, duration};
use clap::ArgMatches;
use client::http::url::Url;
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;

pub(crate) const VERB: Verb = Verb {
    name: "logs",
    group: Group::Debug,
    about: "Print the logs of containers",
    examples: "kubectl logs web
        kubectl logs -f deployment/web
        kubectl logs web -c sidecar --tail=20 --since=10m
        kubectl logs -l app=web --all-containers --prefix",
    arguments: |command| {
        command
            .visible_alias("log")
            .arg(flag("follow", "Keep printing as lines come").short('f'))
            .arg(flag("previous", "The container's previous run").short('p'))
            .arg(value("container", "NAME", "Which container").short('c'))
            .arg(flag("all-containers", "Every container of the pod"))
            .arg(flag("all-pods", "Every pod of the object"))
            .arg(number("tail", "-1", "Only the last lines; -1 for all, 10 with a selector"))
            .arg(value("since", "DURATION", "Only lines that are not older"))
            .arg(value("since-time", "TIME", "Only lines after this time (RFC 3339)"))
            .arg(flag("timestamps", "Begin each line with its time"))
            .arg(number("limit-bytes", "0", "At most this many bytes"))
            .arg(flag("prefix", "Begin each line with where it comes from"))
            .arg(flag("ignore-errors", "Go on when a log cannot be read"))
            .arg(number("max-log-requests", "5", "How many logs may be followed at once"))
            .arg(switch("insecure-skip-tls-verify-backend", false, "Do not verify the kubelet's certificate"))
            .arg(value("pod-running-timeout", "DURATION", "How long to wait for a pod").default_value("20s"))
            .arg(flags::selector())
            .arg(flags::args("POD | TYPE/NAME [CONTAINER]"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// One log.
struct Log {
    path: String,
    prefix: String,
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let (pods, asked) = which(session, matches, &args).await?;
    let several = is_set(matches, "all-containers");
    let mut logs = Vec::new();
    for pod in &pods {
        let names: Vec<String> = if several {
            let mut all = containers(&pod.value);
            // Init containers ran first.
            all.sort_by_key(|(_, mark)| match *mark {
                " (init)" => 0,
                "" => 1,
                _ => 2,
            });
            all.into_iter().map(|(name, _)| name).collect()
        } else {
            vec![container(session, pod, asked.as_deref(), false)?]
        };
        for name in names {
            let prefix =
                if is_set(matches, "prefix") { format!("[pod/{}/{name}] ", pod.name) } else { String::new() };
            logs.push(Log { path: url(matches, pod, &name)?, prefix });
        }
    }
    let ignore = is_set(matches, "ignore-errors");
    let print = |log: Log| async move {
        match print(session, &log).await {
            Err(error) if ignore => {
                session.streams.warn(&error.text());
                Ok(())
            }
            outcome => outcome,
        }
    };
    if is_set(matches, "follow") && logs.len() > 1 {
        let most = usize::try_from(int(matches, "max-log-requests")).unwrap_or(0);
        if logs.len() > most {
            return fail(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {most}, use \
                 --max-log-requests to increase the limit",
                logs.len()
            ));
        }
        return try_join_all(logs.into_iter().map(print)).await.map(|_| ());
    }
    for log in logs {
        print(log).await?;
    }
    Ok(())
}

/// The pods, and the container that an argument names.
async fn which(
    session: &Session,
    matches: &ArgMatches,
    args: &[String],
) -> Result<(Vec<Found>, Option<String>)> {
    let asked = text(matches, "container").map(str::to_owned);
    let selectors = Selectors::of(matches);
    if !selectors.is_empty() {
        if !args.is_empty() {
            return fail("only a selector (-l) or a POD name is allowed");
        }
        let resource = session.discovery().await?.find("pods")?;
        let target = Target { resource, namespace: Some(session.namespace().await?), name: None };
        let (found, errors) = select::read(session.rest().await?, &[target], &selectors).await?;
        Error::all(errors)?;
        if found.is_empty() {
            session.streams.warn(&format!("No resources found in {} namespace.", session.namespace().await?));
        }
        return Ok((found, asked));
    }
    let (name, second) = match args {
        [name] => (name, None),
        [name, container] => (name, Some(container.clone())),
        _ => {
            return fail(
                "'logs (POD | TYPE/NAME) [CONTAINER_NAME]' or with -l SELECTOR: POD or TYPE/NAME is a required argument for the logs command",
            );
        }
    };
    if second.is_some() && asked.is_some() {
        return fail("only one of -c or an inline [CONTAINER] arg is allowed");
    }
    let found = select::one(session, std::slice::from_ref(name), "pods").await?;
    let is_pod = found.resource.kind == "Pod";
    let mut pods = pods_of(session, &found).await?;
    if pods.is_empty() {
        let wait = duration(text(matches, "pod-running-timeout").unwrap_or("20s"))?;
        pods = vec![crate::pods::pod_for(session, name, wait).await?];
    }
    if !is_pod && !is_set(matches, "all-pods") {
        if pods.len() > 1 {
            session.streams.warn(&format!("Found {} pods, using pod/{}", pods.len(), pods[0].name));
        }
        pods.truncate(1);
    }
    Ok((pods, asked.or(second)))
}

fn url(matches: &ArgMatches, pod: &Found, container: &str) -> Result<String> {
    let mut tail = int(matches, "tail");
    if tail < -1 {
        return fail("--tail must be greater than or equal to -1");
    }
    if !given(matches, "tail") && text(matches, "selector").is_some() {
        tail = 10;
    }
    let since = text(matches, "since").map(duration).transpose()?;
    if since.is_some() && text(matches, "since-time").is_some() {
        return fail("at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    let number = |value: i64| Some(value.to_string());
    let tail = if tail >= 0 { number(tail) } else { None };
    let limit = Some(int(matches, "limit-bytes")).filter(|limit| *limit > 0).and_then(number);
    let seconds = since.map(|since| since.as_secs_f64().ceil().to_string());
    Ok(Url::new(format!("{}/log", pod.path()))
        .with("container", Some(container))
        .flag("follow", is_set(matches, "follow"))
        .flag("previous", is_set(matches, "previous"))
        .flag("timestamps", is_set(matches, "timestamps"))
        .with("tailLines", tail.as_deref())
        .with("limitBytes", limit.as_deref())
        .with("sinceSeconds", seconds.as_deref())
        .with("sinceTime", text(matches, "since-time"))
        .flag("insecureSkipTLSVerifyBackend", is_set(matches, "insecure-skip-tls-verify-backend"))
        .into_string())
}

async fn print(session: &Session, log: &Log) -> Result<()> {
    let rest = session.rest().await?;
    let response = rest.raw(Method::GET, &log.path, "*/*", JSON, bytes::Bytes::new()).await?;
    let mut body = response.into_body();
    let mut line = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| message(format!("failed to read the log: {error}; try again")))?;
        let Ok(data) = frame.into_data() else { continue };
        if log.prefix.is_empty() {
            session.out(&data)?;
            continue;
        }
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                session.out([log.prefix.as_bytes(), &line].concat())?;
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        session.out([log.prefix.as_bytes(), &line].concat())?;
    }
    Ok(())
}
