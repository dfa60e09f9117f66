//! The API's description, as an OpenAPI document.
//!
//! In: the table of routes and the table of schemas. Out: the document that is served and checked in.
//! Promise: it lists exactly the routes that the router has; `server/openapi.json` is the same, a test says so.

mod agents;
mod beyond;
mod fleet;
mod power;
pub mod schemas;

use crate::http::auth::Caller;
use crate::http::routes::{ROUTES, Route, Takes, Verb};
use ramet_wire::api::Action;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, Content, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr,
    Required, ResponseBuilder, Schema,
};

const ABOUT: &str = "Agents exchange a token for the session of one run and speak with that; operators use a token of \
                     scope admin. Every request that is refused is answered with an ApiError. Messages, limits and \
                     the formats of packs and manifests are specified in server/wire/FORMAT.md.";

/// The document, as it is served.
#[must_use]
pub fn text() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The document.
#[must_use]
pub fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        paths = paths.path(route.path, PathItem::new(method(route.verb), operation(route)));
    }
    let info = InfoBuilder::new().title("Ramet").version(crate::http::VERSION).description(Some(ABOUT)).build();
    OpenApiBuilder::new().info(info).paths(paths.build()).components(Some(components().build())).build()
}

const fn method(verb: Verb) -> HttpMethod {
    match verb {
        Verb::Get => HttpMethod::Get,
        Verb::Post => HttpMethod::Post,
        Verb::Put => HttpMethod::Put,
        Verb::Delete => HttpMethod::Delete,
    }
}

fn operation(route: &Route) -> OperationBuilder {
    let mut operation = OperationBuilder::new().summary(Some(route.about)).operation_id(Some(id(route)));
    for part in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let parameter = ParameterBuilder::new().name(part).parameter_in(ParameterIn::Path).required(Required::True);
        operation = operation.parameter(parameter.description(Some(parameter_about(part))).schema(Some(text)).build());
    }
    if !route.request.is_empty() {
        let about = match route.takes {
            Takes::Bytes(most) => format!("at most {most} bytes"),
            Takes::Pack => format!("with a content-length of at most {} bytes", ramet_wire::pack::PACK_MAX),
            Takes::File => format!("with a content-length of at most {} bytes", crate::boot::files::FILE_MAX),
            Takes::Nothing => String::new(),
        };
        let (kind, content) = content(route.request);
        let body = RequestBodyBuilder::new().description(Some(about)).content(kind, content);
        operation = operation.request_body(Some(body.required(Some(Required::True)).build()));
    }
    let (status, answer) = route.answer;
    let mut response = ResponseBuilder::new().description("done");
    if !answer.is_empty() {
        let (kind, content) = content(answer);
        response = response.content(if answer == "Line" { "application/x-ndjson" } else { kind }, content);
    }
    operation = operation.response(status.to_string(), response.build());
    for (status, about, schema) in others(route) {
        let content = Content::new(Some(Ref::from_schema_name(schema)));
        let response = ResponseBuilder::new().description(about).content("application/json", content);
        operation = operation.response(status, response.build());
    }
    operation.securities(Some(securities(route)))
}

/// Answers besides the good one.
fn others(route: &Route) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut others = vec![("default", "not done", "ApiError")];
    match (route.verb, route.path) {
        (Verb::Post, "/v1/images") => others.push(("409", "chunks are missing, or the run has ended", "StillMissing")),
        (Verb::Post, "/v1/agents" | "/v1/agents/pin") => {
            others.push(("429", "too many requests without a token", "ApiError"));
        }
        (Verb::Post, "/v1/runs") => others.push(("426", "the agent's version does not fit", "ApiError")),
        (Verb::Put, _) => others.push(("507", "the server's disk is full", "ApiError")),
        (Verb::Get, "/v1/packs/{pack}") => others.push(("416", "no single range inside the pack", "ApiError")),
        _ => {}
    }
    others
}

/// `post_runs_current_end` for `POST /v1/runs/current/end`.
fn id(route: &Route) -> String {
    let words =
        route.path.trim_start_matches("/v1").trim_start_matches('/').replace(['/', '.'], "_").replace(['{', '}'], "");
    format!("{}_{words}", route.verb.text().to_ascii_lowercase())
}

fn parameter_about(part: &str) -> &'static str {
    match part {
        "pack" => "the pack's SHA-256, 64 hex digits",
        "image" => "NAME (its latest version) or NAME@ID",
        "run" => "the run's id",
        "token" => "the token's id",
        "pin" => "the PIN's id",
        "code" => "the agent's code, as XXXX-XXXX",
        "mac" => "the card's address, as 52:54:00:12:34:56",
        "machine" => "the machine's name, the address of one of its cards, or id:NUMBER",
        "job" => "the job's number",
        "rule" => "the rule's number",
        "name" => "the file's name, one of a fixed list",
        _ => "",
    }
}

fn content(schema: &str) -> (&'static str, Content) {
    if schema == "binary" {
        let bytes =
            ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
        return ("application/octet-stream", Content::new(Some(bytes.build())));
    }
    let schema: RefOr<Schema> = match schema.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(item) => Schema::Array(ArrayBuilder::new().items(Ref::from_schema_name(item)).build()).into(),
        None if schema == "object" => Schema::Object(ObjectBuilder::new().schema_type(Type::Object).build()).into(),
        None => Ref::from_schema_name(schema).into(),
    };
    ("application/json", Content::new(Some(schema)))
}

fn securities(route: &Route) -> Vec<SecurityRequirement> {
    let none: [&str; 0] = [];
    let requirement = |caller: &Caller| match caller {
        Caller::Anyone => SecurityRequirement::default(),
        Caller::Token => SecurityRequirement::new("token", none),
        Caller::Session(Action::Capture) => SecurityRequirement::new("capture", none),
        Caller::Session(Action::Restore) => SecurityRequirement::new("restore", none),
        Caller::Admin => SecurityRequirement::new("admin", none),
        Caller::Metrics => SecurityRequirement::new("metrics", none),
        Caller::FirstBoot => SecurityRequirement::new("first-boot", none),
        Caller::SignedUrl => SecurityRequirement::new("address", none),
    };
    route.who.iter().map(requirement).collect()
}

fn components() -> ComponentsBuilder {
    let bearer = |about: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build())
    };
    let address = "exp and sig, as POST /v1/chunks/locate answers them; never built by the agent";
    let address = SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description("sig", address)));
    let mut components = ComponentsBuilder::new()
        .security_scheme("token", bearer("a token of scope capture or restore"))
        .security_scheme("capture", bearer("the session of a capture"))
        .security_scheme("restore", bearer("the session of a restore"))
        .security_scheme("admin", bearer("a token of scope admin"))
        .security_scheme("metrics", bearer("a token of scope metrics"))
        .security_scheme("first-boot", bearer("the token of a clone, for one call"))
        .security_scheme("address", address);
    for schema in schemas::all() {
        components = components.schema(schema.name, schema.to_openapi());
    }
    components
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_that_is_checked_in_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(checked_in == text(), "run: ramet openapi > server/openapi.json");
    }

    #[test]
    fn the_document_lists_exactly_the_routes_of_the_table() {
        let document: serde_json::Value = serde_json::from_str(&text()).unwrap();
        let mut listed = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for verb in
                item.as_object().unwrap().keys().filter(|key| ["get", "post", "put", "delete"].contains(&key.as_str()))
            {
                listed.insert((verb.to_uppercase(), path.clone()));
            }
        }
        let table: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.verb.text().to_owned(), route.path.to_owned())).collect();
        assert_eq!(listed, table);
        assert_eq!(table.len(), ROUTES.len(), "a route is listed twice");
    }

    #[test]
    fn every_schema_that_is_named_is_described() {
        let text = text();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let named = text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in named {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
