//! From the claims of a token to a user: mappings and validations, by names of claims or by expressions.

use crate::contract::UserInfo;
use cel::{Budget, Env, FieldTable, Program, Type, Val};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How one text or several come from claims.
pub(super) enum Mapping {
    Claim { name: String, prefix: String },
    Expression(Box<Program>),
}

/// A condition, and what is said when it does not hold.
pub(super) enum Rule {
    Claim { name: String, required: String },
    Expression(Box<Program>, String),
}

/// All of them.
pub(super) struct Mappings {
    pub(super) username: Mapping,
    pub(super) groups: Option<Mapping>,
    pub(super) uid: Option<Mapping>,
    pub(super) extra: Vec<(String, Program)>,
    pub(super) claim_rules: Vec<Rule>,
    pub(super) user_rules: Vec<(Program, String)>,
}

/// Compiles an expression over `claims`.
pub(super) fn over_claims(expression: &str) -> Result<Program, String> {
    let env = Env::new().var("claims", Type::map(Type::String(None), Type::Dyn));
    env.compile(expression).map_err(|error| format!("compilation failed: {error}"))
}

/// Compiles a condition over `user`.
pub(super) fn over_user(expression: &str) -> Result<Program, String> {
    let text = || Type::list(Type::String(None));
    let fields = [
        ("username", Type::String(None)),
        ("uid", Type::String(None)),
        ("groups", text()),
        ("extra", Type::map(Type::String(None), text())),
    ];
    let fields = fields.map(|(name, ty)| (name.to_owned(), ty));
    let env = Env::new().var("user", FieldTable::object("kubernetes.UserInfo", fields));
    condition(env.compile(expression).map_err(|error| format!("compilation failed: {error}"))?)
}

/// A program that must answer with true or false.
pub(super) fn condition(program: Program) -> Result<Program, String> {
    match program.result_type() {
        Type::Bool | Type::Dyn => Ok(program),
        _ => Err("must evaluate to bool".to_owned()),
    }
}

fn run<R>(
    program: &Program,
    name: &'static str,
    value: &Value,
    read: impl FnOnce(&Val<'_>) -> R,
) -> Result<R, String> {
    let variables = [(name, Val::untyped(value))];
    let found = program.evaluate(&variables, &mut Budget::default());
    found.map(|found| read(&found)).map_err(|error| error.to_string())
}

/// The texts of a value: one, a list of some, or none.
fn texts(value: &Val<'_>) -> Option<Vec<String>> {
    match value {
        Val::Null => Some(Vec::new()),
        Val::String(text) => {
            Some(vec![text.to_string()].into_iter().filter(|text| !text.is_empty()).collect())
        }
        Val::List(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

impl Mapping {
    fn one(&self, claims: &Value, what: &str) -> Result<String, String> {
        match self {
            Self::Claim { name, prefix } => match claims.get(name) {
                Some(Value::String(text)) => Ok(format!("{prefix}{text}")),
                Some(_) => Err(format!("the claim {name:?} is no string")),
                None => Err(format!("claim not present: {name:?}")),
            },
            Self::Expression(program) => {
                run(program, "claims", claims, |found| found.as_str().map(str::to_owned))?
                    .ok_or_else(|| format!("the {what} expression gave no string"))
            }
        }
    }

    fn many(&self, claims: &Value) -> Result<Vec<String>, String> {
        match self {
            Self::Expression(program) => run(program, "claims", claims, texts)?
                .ok_or_else(|| "the groups expression gave no string and no list of strings".to_owned()),
            Self::Claim { name, prefix } => {
                let bad = || format!("the claim {name:?} is no string and no list of strings");
                let found = match claims.get(name) {
                    None | Some(Value::Null) => Vec::new(),
                    Some(Value::String(text)) => vec![text.as_str()],
                    Some(Value::Array(items)) => {
                        items.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(bad)?
                    }
                    Some(_) => return Err(bad()),
                };
                Ok(found.into_iter().map(|text| format!("{prefix}{text}")).collect())
            }
        }
    }
}

impl Mappings {
    /// The user that good claims name, or why they name none.
    pub(super) fn user(&self, claims: &Value) -> Result<UserInfo, String> {
        for rule in &self.claim_rules {
            match rule {
                Rule::Claim { name, required } => {
                    if claims.get(name).and_then(Value::as_str) != Some(required) {
                        return Err(format!("the claim {name:?} has not the required value"));
                    }
                }
                Rule::Expression(program, message) => hold(program, "claims", claims, message)?,
            }
        }
        if let Mapping::Claim { name, .. } = &self.username
            && name == "email"
            && claims.get("email_verified").is_some_and(|verified| *verified != json!(true))
        {
            return Err("email not verified".to_owned());
        }
        let name = self.username.one(claims, "username")?;
        if name.is_empty() {
            return Err("the user name is empty".to_owned());
        }
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, program) in &self.extra {
            let values = run(program, "claims", claims, texts)?.ok_or_else(|| {
                format!("the expression of extra {key:?} gave no string and no list of strings")
            })?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={id}")]);
        }
        let user = UserInfo {
            name,
            uid: self.uid.as_ref().map(|uid| uid.one(claims, "uid")).transpose()?.unwrap_or_default(),
            groups: self.groups.as_ref().map(|groups| groups.many(claims)).transpose()?.unwrap_or_default(),
            extra,
        };
        if !self.user_rules.is_empty() {
            let shown =
                json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
            for (program, message) in &self.user_rules {
                hold(program, "user", &shown, message)?;
            }
        }
        Ok(user)
    }
}

fn hold(program: &Program, name: &'static str, value: &Value, message: &str) -> Result<(), String> {
    match run(program, name, value, |found| found.as_bool())? {
        Some(true) => Ok(()),
        _ => Err(format!("validation expression failed: {message}")),
    }
}
