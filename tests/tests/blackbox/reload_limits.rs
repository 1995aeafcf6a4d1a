//! Limits of the process that a reload changes, and that hold from then on.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use knoxcall_tests::{Config, Gateway, Request, Upstream, eventually, pause};

#[test]
fn fewer_unknown_callers_are_borne_at_once() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let gateway = Gateway::start(&config);
    let unknown = Request::bare("GET", "/").host("gw.test");
    assert_eq!(gateway.send(&unknown).status, 401);
    gateway.rewrite_and_wait(&config.limit("unauthorized_per_minute", 1));
    eventually("the budget to be used up", || {
        (gateway.send(&unknown).status == 429).then_some(())
    });
}

#[test]
fn a_longer_grace_is_given() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::scripted(move |session| {
        while session.request()?.is_some() {
            let _ = released.lock().unwrap().recv();
            session.answer("late but whole")?;
        }
        Ok(())
    });
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config.clone().limit("shutdown_grace_ms", 0));
    gateway.rewrite_and_wait(&config.limit("shutdown_grace_ms", 60_000));
    let mut client = gateway.connect();
    client.send(Request::get("/").bytes());
    upstream.wait_for_requests(1);
    gateway.signal("TERM");
    // Longer than the first grace, and all that comes after one.
    pause(Duration::from_secs(6));
    assert!(gateway.process().exited().is_none());
    release.send(()).unwrap();
    assert_eq!(client.read().text(), "late but whole");
    assert!(gateway.process().wait().success());
}
