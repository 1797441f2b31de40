//! The AuthenticationConfiguration file, and the `--oidc-*` flags that came before it.

use super::claims::{Mapping, Mappings, Rule, condition, over_claims, over_user};
use crate::config_file::{Node, parse};
use std::path::PathBuf;

const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// Issuers that a file may name (upstream's bound).
const MAX_ISSUERS: usize = 64;

/// What is known of an issuer.
pub(super) struct Settings {
    pub(super) url: String,
    /// Where its discovery document is.
    pub(super) discovery: String,
    /// PEM of the authorities of its server; the machine's when there is none.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) audiences: Vec<String>,
    /// Names of algorithms; empty allows every asymmetric one.
    pub(super) algorithms: Vec<String>,
    pub(super) mappings: Mappings,
}

/// Whether requests without credentials are served, and on which paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anonymous {
    /// Whether at all.
    pub enabled: bool,
    /// Only these paths; empty allows all.
    pub paths: Vec<String>,
}

/// `--oidc-*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcFlags {
    /// `--oidc-issuer-url`.
    pub issuer_url: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--oidc-username-claim`.
    pub username_claim: String,
    /// `--oidc-username-prefix`; `-` is none.
    pub username_prefix: Option<String>,
    /// `--oidc-groups-claim`.
    pub groups_claim: Option<String>,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-required-claim`.
    pub required_claims: Vec<(String, String)>,
    /// `--oidc-signing-algs`.
    pub signing_algs: Vec<String>,
}

fn discovery(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

fn https(url: &str) -> Result<(), String> {
    let parsed: http::Uri = url.parse().map_err(|error| format!("Invalid value: {url:?}: {error}"))?;
    if parsed.scheme_str() != Some("https") {
        return Err(format!("Invalid value: {url:?}: URL scheme must be https"));
    }
    if parsed.query().is_some() || parsed.authority().is_none_or(|authority| authority.as_str().contains('@'))
    {
        return Err(format!(
            "Invalid value: {url:?}: URL must not contain a query, a username or a password"
        ));
    }
    Ok(())
}

impl OidcFlags {
    pub(super) fn settings(&self) -> Result<Settings, String> {
        https(&self.issuer_url)?;
        if self.client_id.is_empty() {
            return Err("--oidc-client-id is required".to_owned());
        }
        let prefix = match self.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if self.username_claim == "email" => String::new(),
            None => format!("{}#", self.issuer_url),
        };
        let authority = self.ca_file.as_ref().map(|path| {
            std::fs::read(path).map_err(|error| format!("failed to read {}: {error}", path.display()))
        });
        let required = self.required_claims.iter();
        let claim =
            |name: &str, prefix: &str| Mapping::Claim { name: name.to_owned(), prefix: prefix.to_owned() };
        Ok(Settings {
            url: self.issuer_url.clone(),
            discovery: discovery(&self.issuer_url),
            authority: authority.transpose()?,
            audiences: vec![self.client_id.clone()],
            algorithms: self.signing_algs.clone(),
            mappings: Mappings {
                username: claim(&self.username_claim, &prefix),
                groups: self.groups_claim.as_ref().map(|name| claim(name, &self.groups_prefix)),
                uid: None,
                extra: Vec::new(),
                claim_rules: required
                    .map(|(name, value)| Rule::Claim { name: name.clone(), required: value.clone() })
                    .collect(),
                user_rules: Vec::new(),
            },
        })
    }
}

/// Reads the file.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Settings>, Option<Anonymous>), String> {
    let value = parse(bytes, "AuthenticationConfiguration", &VERSIONS)?;
    let root = Node::root(&value, &["jwt", "anonymous"])?;
    let fields = ["issuer", "claimValidationRules", "claimMappings", "userValidationRules"];
    let listed = root.get("jwt").objects(&fields)?;
    if listed.len() > MAX_ISSUERS {
        return Err(root
            .get("jwt")
            .bad(&format!("Too many: {}: must have at most {MAX_ISSUERS} items", listed.len())));
    }
    let mut issuers: Vec<Settings> = Vec::new();
    for node in &listed {
        let settings = issuer(node)?;
        if let Some(same) =
            issuers.iter().find(|known| known.url == settings.url || known.discovery == settings.discovery)
        {
            return Err(node.get("issuer").bad(&format!("Duplicate value: {:?}", same.url)));
        }
        issuers.push(settings);
    }
    Ok((issuers, anonymous(&root)?))
}

fn anonymous(root: &Node<'_>) -> Result<Option<Anonymous>, String> {
    let node = root.object("anonymous", &["enabled", "conditions"])?;
    if !node.is_set() {
        return Ok(None);
    }
    let enabled = node.get("enabled").flag()?.unwrap_or(false);
    let conditions = node.get("conditions").objects(&["path"])?;
    let paths = conditions.iter().map(|c| c.get("path").required().map(str::to_owned));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    if !enabled && !paths.is_empty() {
        return Err(node
            .get("conditions")
            .bad("Invalid value: enabled should be set to true when conditions are defined"));
    }
    Ok(Some(Anonymous { enabled, paths }))
}

fn issuer(node: &Node<'_>) -> Result<Settings, String> {
    let fields = [
        "url",
        "discoveryURL",
        "certificateAuthority",
        "audiences",
        "audienceMatchPolicy",
        "egressSelectorType",
    ];
    let issuer = node.object("issuer", &fields)?;
    let url = issuer.get("url");
    https(url.required()?).map_err(|why| url.bad(&why))?;
    let given = issuer.get("discoveryURL");
    if !given.text()?.is_empty() {
        https(given.text()?).map_err(|why| given.bad(&why))?;
        if given.text()?.trim_end_matches('/') == url.text()?.trim_end_matches('/') {
            return Err(given.bad("Invalid value: discoveryURL must be different from URL"));
        }
    }
    if !issuer.get("egressSelectorType").text()?.is_empty() {
        return Err(issuer
            .get("egressSelectorType")
            .bad("not supported by this version of Windlass; leave it out"));
    }
    let audiences = issuer.get("audiences").texts()?;
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        return Err(issuer
            .get("audiences")
            .bad("Required value: at least one jwt[].issuer.audiences is required"));
    }
    let policy = issuer.get("audienceMatchPolicy").choice(&["", "MatchAny"])?;
    if audiences.len() > 1 && policy != "MatchAny" {
        return Err(issuer
            .get("audienceMatchPolicy")
            .bad("Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences"));
    }
    let authority = issuer.get("certificateAuthority").text()?;
    Ok(Settings {
        url: url.text()?.to_owned(),
        discovery: match given.text()? {
            "" => discovery(url.text()?),
            given => given.to_owned(),
        },
        authority: (!authority.is_empty()).then(|| authority.as_bytes().to_vec()),
        audiences,
        algorithms: Vec::new(),
        mappings: mappings(node)?,
    })
}

/// A claim with a prefix, or an expression.
fn mapping(node: &Node<'_>, prefixed: bool) -> Result<Option<Mapping>, String> {
    let (claim, expression) = (node.get("claim").text()?, node.get("expression").text()?);
    match (claim, expression) {
        ("", "") => Ok(None),
        (_, "") if prefixed && !node.get("prefix").is_set() => {
            Err(node.get("prefix").bad("Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing"))
        }
        (claim, "") => {
            let prefix = node.get("prefix").text()?.to_owned();
            Ok(Some(Mapping::Claim { name: claim.to_owned(), prefix }))
        }
        ("", expression) if !node.get("prefix").is_set() => {
            let program = over_claims(expression).map_err(|why| node.get("expression").bad(&why))?;
            Ok(Some(Mapping::Expression(Box::new(program))))
        }
        ("", _) => Err(node.get("prefix").bad("Invalid value: prefix can't be set when expression is set")),
        _ => Err(node.bad("Invalid value: claim and expression can't both be set")),
    }
}

fn mappings(node: &Node<'_>) -> Result<Mappings, String> {
    let of = node.object("claimMappings", &["username", "groups", "uid", "extra"])?;
    let both = ["claim", "prefix", "expression"];
    let username = of.object("username", &both)?;
    let Some(name) = mapping(&username, true)? else {
        return Err(username.bad("Required value: claim or expression is required"));
    };
    let mut extra = Vec::new();
    let mut expressions = vec![username.get("expression").text()?.to_owned()];
    for entry in of.get("extra").objects(&["key", "valueExpression"])? {
        let key = entry.get("key").required()?;
        if key.to_lowercase() != key || !key.contains('/') {
            return Err(entry
                .get("key")
                .bad(&format!("Invalid value: {key:?}: must be a lower case domain-prefixed path")));
        }
        let domain = key.split('/').next().unwrap_or_default();
        if ["kubernetes.io", "k8s.io"]
            .iter()
            .any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
        {
            return Err(entry
                .get("key")
                .bad(&format!("Invalid value: {key:?}: the domain is reserved for Kubernetes use")));
        }
        if extra.iter().any(|(known, _)| known == key) {
            return Err(entry.get("key").bad(&format!("Duplicate value: {key:?}")));
        }
        let expression = entry.get("valueExpression");
        expressions.push(expression.text()?.to_owned());
        extra
            .push((key.to_owned(), over_claims(expression.required()?).map_err(|why| expression.bad(&why))?));
    }
    let mut claim_rules = Vec::new();
    for rule in
        node.get("claimValidationRules").objects(&["claim", "requiredValue", "expression", "message"])?
    {
        let expression = rule.get("expression");
        expressions.push(expression.text()?.to_owned());
        claim_rules.push(match (rule.get("claim").text()?, expression.text()?) {
            ("", "") => return Err(rule.bad("Required value: claim or expression is required")),
            (claim, "") => {
                let required = rule.get("requiredValue").text()?.to_owned();
                Rule::Claim { name: claim.to_owned(), required }
            }
            ("", text) => {
                let program = over_claims(text).and_then(condition).map_err(|why| expression.bad(&why))?;
                Rule::Expression(Box::new(program), rule.get("message").text()?.to_owned())
            }
            _ => return Err(rule.bad("Invalid value: claim and expression can't both be set")),
        });
    }
    if expressions[0].contains("claims.email") && !expressions.iter().any(|e| e.contains("email_verified")) {
        return Err(username.get("expression").bad(
            "Invalid value: claims.email_verified must be used in claimMappings.username.expression or \
             claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
             claimMappings.username.expression",
        ));
    }
    let mut user_rules = Vec::new();
    for rule in node.get("userValidationRules").objects(&["expression", "message"])? {
        let expression = rule.get("expression");
        let program = over_user(expression.required()?).map_err(|why| expression.bad(&why))?;
        user_rules.push((program, rule.get("message").text()?.to_owned()));
    }
    Ok(Mappings {
        username: name,
        groups: mapping(&of.object("groups", &both)?, true)?,
        uid: mapping(&of.object("uid", &["claim", "expression"])?, false)?,
        extra,
        claim_rules,
        user_rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_strictly() {
        let read = |jwt: &str| {
            let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
            read(format!("{head}{jwt}").as_bytes()).map(|(issuers, anonymous)| (issuers.len(), anonymous))
        };
        let issuer = "issuer: {url: 'https://a', audiences: [x]}";
        let good = format!(
            "jwt: [{{{issuer}, claimMappings: {{username: {{claim: sub, prefix: ''}}}}}}]\nanonymous: {{enabled: true, conditions: [{{path: /livez}}]}}"
        );
        let anonymous = Anonymous { enabled: true, paths: vec!["/livez".to_owned()] };
        assert_eq!(read(&good).unwrap(), (1, Some(anonymous)));
        for (bad, why) in [
            ("jwt: [{issuer: {url: 'http://a', audiences: [x]}}]".to_owned(), "scheme must be https"),
            ("jwt: [{issuer: {url: 'https://a'}}]".to_owned(), "jwt[0].issuer.audiences: Required"),
            ("jwt: [{issuer: {url: 'https://a', audiences: [x, z]}}]".to_owned(), "must be MatchAny"),
            (format!("jwt: [{{{issuer}}}]"), "claim or expression is required"),
            (
                format!("jwt: [{{{issuer}, claimMappings: {{username: {{claim: sub}}}}}}]"),
                "prefix is required",
            ),
            (
                format!("jwt: [{{{issuer}, claimMappings: {{username: {{expression: 'claims.'}}}}}}]"),
                "compilation failed",
            ),
            (
                format!("jwt: [{{{issuer}, claimMappings: {{username: {{expression: claims.email}}}}}}]"),
                "email_verified",
            ),
            ("jwt: [{who: me}]".to_owned(), "unknown field"),
            ("anonymous: {enabled: false, conditions: [{path: /a}]}".to_owned(), "enabled should be set"),
        ] {
            let error = read(&bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
