//! The endpoint: `/metrics`, health, a page for people, what networks say (`inference`), and what else programs ask for
//! (`api`).
//!
//! What is shown is `exposition`'s and `landing`'s; here stand the routes, their bounds, and how they end. Everything
//! that a client can make us hold is bounded: connections (`connection`), what it sends (`room`), answers on their way
//! (`body`), and the time that all of these may take.
//!
//! **A scrape finds room whatever others ask.** Requests for anything but `/metrics` and health may be so many at once, and
//! there are more connections than that: so one is idle, and makes room for the next. Scrapes themselves are bounded:
//! while eight clients take theirs slowly, for at most a minute each, another is told to come back.

mod api;
mod body;
mod connection;
mod error;
mod inference;
mod landing;
mod path;
mod room;
mod sparkline;

use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use forecastd_config::Http;
use forecastd_models::Timestamp;
use tokio::sync::{Semaphore, oneshot};

use self::api::Api;
use self::body::{PageBody, guarded};
use self::connection::{Connections, Seat};
use self::error::ApiError;
use self::inference::Service;
use super::exposition::{Exposition, Format, Readiness};
use crate::message::change_models::ChangeModels;
use crate::message::inference::Infer;

/// Pages on their way to clients at once. Prometheus asks for one at a time; beside a pair of servers and a few
/// browsers there is no honest need for more.
const PAGES: usize = 8;

/// Requests under way at once that are neither for networks nor scrapes.
const OTHERS: usize = 128;

/// Connections beside those that all these may hold: for scrapes, and for whoever is idle.
const SPARE: usize = 128;

/// Clients that may wait for their connection to be taken.
const BACKLOG: i32 = 1024;

/// How long answers under way may take once the service stops.
const GRACE: Duration = Duration::from_secs(5);

/// What answers come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The snapshot and the counters.
    pub exposition: Arc<Exposition>,
    /// Networks.
    pub infer: Arc<dyn Infer>,
    /// Who changes models.
    pub changes: Arc<dyn ChangeModels>,
    /// Bounds, and who may do what.
    pub config: Http,
}

/// Serves until `shutdown` completes and the answers under way are out, or five seconds later.
pub async fn serve(
    listener: std::net::TcpListener,
    sources: Sources,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // std asks for 128: the kernel drops who comes beyond that, and they try again a second later.
    rustix::net::listen(&listener, BACKLOG)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let bounded = sources.config.inference.requests + OTHERS;
    let connections = Connections::new(listener, bounded + SPARE);
    let service = router(sources, bounded)?.into_make_service_with_connect_info::<Seat>();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(connections, service).with_graceful_shutdown(async {
        let _ = stopped.await; // either way it is time to stop
    });
    let deadline = async {
        shutdown.await;
        drop(stop);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = deadline => {
            tracing::warn!(grace = ?GRACE, "answers were still under way when the endpoint closed");
            Ok(())
        }
    }
}

#[derive(Clone)]
struct Endpoint {
    exposition: Arc<Exposition>,
    infer: Arc<dyn Infer>,
    /// Of `/metrics`.
    pages: Arc<Semaphore>,
    /// Those for people, who take no scrape's place.
    people: Arc<Semaphore>,
}

/// All routes, of which those that are no scrapes have at most so many requests under way.
fn router(sources: Sources, most: usize) -> io::Result<Router> {
    let Sources {
        exposition,
        infer,
        changes,
        config,
    } = sources;
    let inference = Service::new(Arc::clone(&exposition), Arc::clone(&infer), config.inference)?;
    let api = Api::new(Arc::clone(&exposition), changes, config.admin_token_file);
    let endpoint = Endpoint {
        exposition,
        infer,
        pages: Arc::new(Semaphore::new(PAGES)),
        people: Arc::new(Semaphore::new(PAGES)),
    };
    let bounded = Router::new()
        .route("/", get(landing))
        .with_state(endpoint.clone())
        .merge(inference::routes(inference.clone()))
        .merge(api::routes(api))
        .layer(from_fn_with_state(Arc::new(Semaphore::new(most)), admit));
    Ok(Router::new()
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { text(StatusCode::OK, "healthy\n") }))
        .route("/-/ready", get(ready))
        .with_state(endpoint)
        .merge(inference::health(inference))
        .merge(bounded)
        .fallback(nowhere)
        .method_not_allowed_fallback(otherwise)
        .layer(from_fn(seated)))
}

/// Tells the connection that it has a request under way, until the last of its answer is handed over.
async fn seated(ConnectInfo(seat): ConnectInfo<Seat>, request: Request, next: Next) -> Response {
    let asked = seat.ask();
    let answer = next.run(request).await;
    asked.answered();
    guarded(answer, asked)
}

/// Lets a request pass that finds room, which it keeps as long.
async fn admit(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match room.try_acquire_owned() {
        Ok(permit) => guarded(next.run(request).await, permit),
        Err(_) if is_for_programs(request.uri()) => {
            ApiError::busy("too many requests are under way already: try again later").into_response()
        }
        Err(_) => busy("too many requests are under way already"),
    }
}

/// There is no such page. Programs are told as programs are.
async fn nowhere(uri: Uri) -> Response {
    match is_for_programs(&uri) {
        true => ApiError::unknown("no such address; see /api/openapi.json").into_response(),
        false => text(StatusCode::NOT_FOUND, "no such page; see /\n"),
    }
}

async fn otherwise(uri: Uri) -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    match is_for_programs(&uri) {
        true => ApiError::new(status, "another method; see /api/openapi.json").into_response(),
        false => text(status, "only GET and HEAD\n"),
    }
}

fn is_for_programs(uri: &Uri) -> bool {
    ["/v2", "/api/"].iter().any(|start| uri.path().starts_with(start))
}

async fn metrics(
    State(endpoint): State<Endpoint>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let format = Format::negotiate(&accepted(&headers));
    let dataset = query.get("dataset").map(String::as_str);
    let Ok(permit) = endpoint.pages.try_acquire_owned() else {
        return too_many_pages();
    };
    match endpoint.exposition.page(format, dataset) {
        Some(page) => {
            let body = PageBody::new([page.forecasts, page.service], permit);
            let headers = [(CONTENT_TYPE, format.content_type()), (VARY, "Accept")];
            (headers, Body::new(body)).into_response()
        }
        None => text(
            StatusCode::NOT_FOUND,
            format!("no dataset {:?}\n", dataset.unwrap_or_default()),
        ),
    }
}

async fn landing(State(endpoint): State<Endpoint>) -> Response {
    let Ok(permit) = endpoint.people.try_acquire_owned() else {
        return too_many_pages();
    };
    let html = landing::page(&endpoint.exposition, &*endpoint.infer, now());
    let body = PageBody::new([html.into()], permit);
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A channel's name that slipped through the escaping could still load and run nothing.
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    (headers, Body::new(body)).into_response()
}

async fn ready(State(endpoint): State<Endpoint>) -> Response {
    match endpoint.exposition.readiness() {
        Readiness::Ready => text(StatusCode::OK, "ready\n"),
        Readiness::Starting { doing } => text(StatusCode::SERVICE_UNAVAILABLE, format!("starting: {doing}\n")),
        Readiness::Stopping => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

fn busy(why: &str) -> Response {
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}: try again later\n"))
}

fn too_many_pages() -> Response {
    busy(&format!("{PAGES} pages are on their way already"))
}

fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text.into()).into_response()
}

/// All `Accept` headers as one, as HTTP has it.
fn accepted(headers: &HeaderMap) -> String {
    let accepted: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value: &HeaderValue| value.to_str().ok())
        .collect();
    accepted.join(",")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod running;
#[cfg(test)]
mod tests;
