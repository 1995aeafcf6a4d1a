// The product as used: reads and signed writes over a thousand routes with many
// keys, at a constant rate of arrivals, a seventh of it wrong on purpose. Every
// answer is checked; one wrong answer fails the run.

import http from 'k6/http';
import crypto from 'k6/crypto';
import exec from 'k6/execution';
import { check } from 'k6';
import { constantRate, drawn, report } from './rate.js';

const inputs = JSON.parse(open(__ENV.INPUTS));
const BODY = JSON.stringify({ amount: 1999, currency: 'EUR', pad: 'x'.repeat(1024) }).slice(0, -2);

export const options = constantRate();

// What is sent, and in how many of a hundred iterations.
const MIX = [
  [45, read],
  [40, write],
  [3, wrongKey],
  [2, noKey],
  [3, wrongMethod],
  [3, unknownRoute],
  [2, wrongSignature],
  [2, replay],
];

export default function () {
  drawn(MIX)();
}

function read() {
  const route = drawRoute(0);
  const target = `/seen/items?page=${exec.scenario.iterationInTest}`;
  const answer = http.get(inputs.base + target, params(headers(route)));
  passes(answer, route, target, '');
}

function write() {
  const route = drawRoute(1);
  const [answer, target, body] = signedPost(route, (signature) => signature);
  passes(answer, route, target, String(body.length));
}

function wrongKey() {
  const sent = headers(drawRoute(0));
  sent['x-knoxcall-key'] = `${sent['x-knoxcall-key'].slice(0, -1)}!`;
  refuses(http.get(`${inputs.base}/seen`, params(sent)), 401, 'unauthorized');
}

function noKey() {
  const sent = headers(drawRoute(0));
  delete sent['x-knoxcall-key'];
  refuses(http.get(`${inputs.base}/seen`, params(sent)), 401, 'unauthorized');
}

function wrongMethod() {
  const answer = http.del(`${inputs.base}/seen`, null, params(headers(drawRoute(0))));
  refuses(answer, 405, 'method_not_allowed');
  check(answer, { '405 names the methods': (r) => (r.headers.Allow || '').includes('GET') });
}

function unknownRoute() {
  const sent = headers(drawRoute(0));
  sent['x-knoxcall-route'] = 'no-such-route';
  refuses(http.get(`${inputs.base}/seen`, params(sent)), 404, 'route_not_found');
}

function wrongSignature() {
  const [answer] = signedPost(drawRoute(1), (signature) => signature.replace(/^./, (c) => (c === '0' ? '1' : '0')));
  refuses(answer, 401, 'signature_invalid');
}

function replay() {
  const route = drawRoute(1);
  const [first, target, body, sent] = signedPost(route, (signature) => signature);
  passes(first, route, target, String(body.length));
  refuses(http.post(inputs.base + target, body, params(sent)), 401, 'nonce_replayed');
}

// A POST whose query makes its signature the only one of its kind.
function signedPost(route, alter) {
  const target = `/seen/orders?n=${exec.scenario.iterationInTest}`;
  const body = `${BODY}${exec.vu.idInTest}"}`;
  const timestamp = String(Math.floor(Date.now() / 1000) + 1);
  const message = `${timestamp}\nPOST\n${target}\n${body}`;
  const signature = crypto.hmac('sha256', inputs.signing_secret, message, 'hex');
  const sent = Object.assign(headers(route), {
    'Content-Type': 'application/json',
    'x-timestamp': timestamp,
    'x-signature': alter(signature),
  });
  return [http.post(inputs.base + target, body, params(sent)), target, body, sent];
}

// Even routes read, odd ones take signed writes.
function drawRoute(parity) {
  return 2 * Math.floor((Math.random() * inputs.routes) / 2) + parity;
}

function headers(route) {
  return {
    Host: inputs.host,
    'x-knoxcall-route': `r${String(route).padStart(7, '0')}`,
    'x-knoxcall-key': inputs.keys[Math.floor(Math.random() * inputs.keys.length)],
  };
}

function params(sent) {
  return { headers: sent, tags: { name: 'product' } };
}

// The origin tells what reached it: this route's secret, by its number, and
// nothing of ours. The secret itself, which it tells too, is masked.
function passes(answer, route, target, length) {
  const seen = parsed(answer);
  check(answer, {
    'served': (r) => r.status === 200,
    'upstream status told': (r) => r.headers['X-Knox-Upstream-Status'] === '200',
    'request id told': (r) => /^[0-9a-f]{8}-[0-9a-f]{4}-7/.test(r.headers['X-Request-Id'] || ''),
    'limits told': (r) => r.headers['X-Ratelimit-Limit'] !== undefined,
    'the secret of this route arrived': () => seen.token === String(route % inputs.tokens.length),
    'no secret came back': () => /\*{20}/.test(seen.authorization || '') && !/loadtest-token/.test(answer.body),
    'key and route did not arrive': () => seen.key === '' && seen.route === '',
    'path and query arrived': () => seen.uri === target,
    'the body arrived whole': () => seen.length === length,
  });
}

function refuses(answer, status, type) {
  const error = parsed(answer).error || {};
  check(answer, {
    [`refused with ${status} ${type}`]: (r) => r.status === status && error.type === type,
    'refusal names its request': (r) => error.request_id !== undefined && error.request_id === r.headers['X-Request-Id'],
    'refusal has no upstream status': (r) => r.headers['X-Knox-Upstream-Status'] === undefined,
  });
}

function parsed(answer) {
  try {
    return answer.json() || {};
  } catch (_) {
    return {};
  }
}

export function handleSummary(data) {
  return report(data, 'http_req_duration');
}
