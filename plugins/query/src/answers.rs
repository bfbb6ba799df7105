//! What expressions ask of the snapshot, answered.
//!
//! A function of an expression cannot reach the snapshot itself: CEL wants functions that live as long as it likes. So it looks
//! into the answers that are known, and notes what is missing; the expression's outcome is then thrown away, the missing
//! answers are had all at once, and the expression is asked again. A function that depends on another's answer takes one
//! more round, so a few rounds answer everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cel::objects::Key;
use cel::{Context, ExecutionError, Program, ResolveResult, Value};
use holdfast_plugin::kubernetes::{self, Encoding, Object, Stored};
use holdfast_plugin::{Columns, Query, ReadError, SnapshotView};

/// Rounds until an expression that asks for something new each time is given up.
const ROUNDS: usize = 32;
/// Keys or objects that one function may list. They are held in memory.
const LISTED: u64 = 20_000;
/// Names of the functions, for whoever mistypes one.
pub(crate) const FUNCTIONS: [&str; 6] = ["count", "size_bytes", "present", "value_of", "keys", "objects"];

/// One call of a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Count(String),
    Size(String),
    Present(String),
    Value(String),
    Keys(String),
    Objects { api_version: String, kind: String },
}

impl Ask {
    /// What stands for an answer that is not known yet.
    fn stand_in(&self) -> Value {
        match self {
            Ask::Count(_) | Ask::Size(_) => Value::Int(0),
            Ask::Present(_) => Value::Bool(false),
            Ask::Value(_) => Value::Null,
            Ask::Keys(_) | Ask::Objects { .. } => Value::List(Arc::default()),
        }
    }
}

/// Why an expression has no value.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The expression cannot be right: it names something that is not there, or mixes types.
    Expression(String),
    /// The snapshot does not give the answer.
    Unknown(String),
    /// The snapshot cannot be read.
    Read(ReadError),
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        Problem::Read(error)
    }
}

#[derive(Default)]
struct State {
    known: BTreeMap<Ask, Result<Value, String>>,
    missing: BTreeSet<Ask>,
}

/// A snapshot that expressions can ask.
pub(crate) struct Answers<'a> {
    snapshot: &'a SnapshotView<'a>,
    registry: String,
    state: Arc<Mutex<State>>,
    context: Context<'static, 'static>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(
        snapshot: &'a SnapshotView<'a>,
        run: &holdfast_plugin::Context,
        registry: &str,
    ) -> Result<Answers<'a>, Problem> {
        let state: Arc<Mutex<State>> = Arc::default();
        let mut context = Context::default();
        let text = |name: &str| run.get(name).unwrap_or_default().to_owned();
        let live_keys = snapshot.live_keys()? as i64;
        context.add_variable_from_value("revision", snapshot.revision());
        context.add_variable_from_value("live_keys", live_keys);
        context.add_variable_from_value("cluster", text("cluster"));
        context.add_variable_from_value("time", text("time"));
        let declared = [
            declare(&mut context, &state, "count", Ask::Count),
            declare(&mut context, &state, "size_bytes", Ask::Size),
            declare(&mut context, &state, "present", Ask::Present),
            declare(&mut context, &state, "value_of", Ask::Value),
            declare(&mut context, &state, "keys", Ask::Keys),
            declare_objects(&mut context, &state),
        ];
        declared.into_iter().collect::<Result<Vec<()>, String>>().map_err(Problem::Unknown)?;
        Ok(Answers { snapshot, registry: registry.to_owned(), state, context })
    }

    /// The value of an expression.
    pub(crate) fn evaluate(&self, program: &Program) -> Result<Value, Problem> {
        for _ in 0..ROUNDS {
            let value = program.execute(&self.context);
            let missing = std::mem::take(&mut lock(&self.state).missing);
            if missing.is_empty() {
                return value.map_err(|error| explain(&error));
            }
            self.find(missing)?;
        }
        Err(Problem::Expression(format!("asks for something new {ROUNDS} times over")))
    }

    fn find(&self, missing: BTreeSet<Ask>) -> Result<(), Problem> {
        let mut kinds = Vec::new();
        for ask in missing {
            let answer = match &ask {
                Ask::Count(prefix) => {
                    Ok(Value::Int(self.snapshot.totals(&Query::prefix(prefix))?.keys as i64))
                }
                Ask::Size(prefix) => {
                    let totals = self.snapshot.totals(&Query::prefix(prefix))?;
                    Ok(Value::Int((totals.key_bytes + totals.value_bytes) as i64))
                }
                Ask::Present(key) => Ok(Value::Bool(self.snapshot.contains(key)?)),
                Ask::Value(key) => {
                    Ok(self.snapshot.get(key)?.map_or(Value::Null, |row| text_or_bytes(row.value)))
                }
                Ask::Keys(prefix) => self.keys(prefix)?,
                Ask::Objects { api_version, kind } => {
                    kinds.push((api_version.clone(), kind.clone()));
                    continue;
                }
            };
            lock(&self.state).known.insert(ask, answer);
        }
        if kinds.is_empty() { Ok(()) } else { self.objects(kinds) }
    }

    fn keys(&self, prefix: &str) -> Result<Result<Value, String>, ReadError> {
        let mut rows = self.snapshot.rows(&Query::prefix(prefix).keys_only().limit(LISTED + 1))?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next_row()? {
            keys.push(text_or_bytes(row.key.to_vec()));
        }
        if keys.len() as u64 > LISTED {
            return Ok(Err(format!(
                "more than {LISTED} keys begin with `{prefix}`; `count` has no such limit"
            )));
        }
        Ok(Ok(Value::List(Arc::new(keys))))
    }

    /// One pass over all objects for all kinds that were asked for.
    fn objects(&self, kinds: Vec<(String, String)>) -> Result<(), Problem> {
        let mut found: BTreeMap<(String, String), Vec<Value>> =
            kinds.into_iter().map(|kind| (kind, Vec::new())).collect();
        let (mut encrypted, mut broken) = (0_u64, None);
        let mut rows =
            self.snapshot.rows(&Query::prefix(&self.registry).columns(Columns::KEYS_AND_VALUES))?;
        while let Some(row) = rows.next_row()? {
            match kubernetes::parse(row.value) {
                Ok(Stored::Object(object)) => {
                    let kind = (object.api_version.to_string(), object.kind.to_string());
                    if let Some(objects) = found.get_mut(&kind)
                        && objects.len() as u64 <= LISTED
                    {
                        objects.push(described(row.key, row.value, &object));
                    }
                }
                Ok(Stored::Encrypted(_)) => encrypted += 1,
                Ok(Stored::Unknown) => {}
                Err(_) => broken = Some(holdfast_plugin::printable(row.key)),
            }
        }
        for ((api_version, kind), objects) in found {
            let called = format!("objects('{api_version}', '{kind}')");
            let answer = if let Some(key) = &broken {
                Err(format!("{called} cannot be told: the value of `{key}` does not decode"))
            } else if objects.len() as u64 > LISTED {
                Err(format!("{called} are more than {LISTED}; `count` has no such limit"))
            } else if objects.is_empty() && encrypted > 0 {
                Err(format!(
                    "{called} cannot be told: {encrypted} values are encrypted; ask for their keys with `count` or `keys`"
                ))
            } else {
                Ok(Value::List(Arc::new(objects)))
            };
            lock(&self.state).known.insert(Ask::Objects { api_version, kind }, answer);
        }
        Ok(())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(state: &Mutex<State>, function: &str, ask: Ask) -> ResolveResult {
    let mut state = lock(state);
    match state.known.get(&ask) {
        Some(Ok(value)) => Ok(value.clone()),
        Some(Err(message)) => {
            Err(ExecutionError::FunctionError { function: function.to_owned(), message: message.clone() })
        }
        None => {
            let value = ask.stand_in();
            state.missing.insert(ask);
            Ok(value)
        }
    }
}

fn declare(
    context: &mut Context<'static, 'static>,
    state: &Arc<Mutex<State>>,
    name: &'static str,
    ask: fn(String) -> Ask,
) -> Result<(), String> {
    let state = Arc::clone(state);
    let function = move |argument: Arc<String>| answer(&state, name, ask(argument.to_string()));
    context.add_function(name, function).map_err(|error| format!("`{name}` cannot be declared: {error:?}"))
}

fn declare_objects(context: &mut Context<'static, 'static>, state: &Arc<Mutex<State>>) -> Result<(), String> {
    let state = Arc::clone(state);
    let function = move |api_version: Arc<String>, kind: Arc<String>| {
        let ask = Ask::Objects { api_version: api_version.to_string(), kind: kind.to_string() };
        answer(&state, "objects", ask)
    };
    context
        .add_function("objects", function)
        .map_err(|error| format!("`objects` cannot be declared: {error:?}"))
}

fn text_or_bytes(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::String(Arc::new(text)),
        Err(error) => Value::Bytes(Arc::new(error.into_bytes())),
    }
}

/// An object as expressions see it: what every object says of itself, and all of it where it is stored as JSON.
fn described(key: &[u8], value: &[u8], object: &Object<'_>) -> Value {
    let text = |text: &str| Value::String(Arc::new(text.to_owned()));
    let labels: Vec<(Key, Value)> =
        object.labels.iter().map(|(name, value)| (key_of(name), text(value))).collect();
    let own = [
        (key_of("apiVersion"), text(&object.api_version)),
        (key_of("kind"), text(&object.kind)),
        // Shorter than `metadata.name`, and there for every kind.
        (key_of("name"), text(&object.name)),
        (key_of("namespace"), text(&object.namespace)),
        (key_of("uid"), text(&object.uid)),
        (key_of("labels"), map(labels)),
        (key_of("key"), text_or_bytes(key.to_vec())),
        (key_of("size_bytes"), Value::Int(value.len() as i64)),
    ];
    let mut members: Vec<(Key, Value)> = own.into();
    if object.encoding == Encoding::Json
        && let Ok(whole) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(value)
    {
        for (name, value) in whole {
            if let Ok(value) = cel::to_value(value)
                && !members.iter().any(|(known, _)| *known == key_of(&name))
            {
                members.push((key_of(&name), value));
            }
        }
    }
    map(members)
}

fn key_of(name: &str) -> Key {
    Key::String(Arc::new(name.to_owned()))
}

fn map(members: Vec<(Key, Value)>) -> Value {
    Value::Map(cel::objects::Map { map: Arc::new(members.into_iter().collect()) })
}

/// CEL's own words may hold values, and values are Secrets.
fn explain(error: &ExecutionError) -> Problem {
    match error {
        ExecutionError::UndeclaredReference(name) => Problem::Expression(format!(
            "knows no `{name}`; there are the functions {} and the variables revision, live_keys, cluster and time",
            FUNCTIONS.join(", ")
        )),
        ExecutionError::NoSuchOverload(error) => Problem::Expression(error.to_string()),
        ExecutionError::FunctionError { function, message } if FUNCTIONS.contains(&function.as_str()) => {
            Problem::Unknown(message.clone())
        }
        // The name of the field may be computed, from a value too.
        ExecutionError::NoSuchKey(_) => {
            Problem::Unknown("a field that it asks for is missing; ask with `has(…)` first".to_owned())
        }
        _ => Problem::Unknown("cannot be computed: types or numbers do not fit".to_owned()),
    }
}
