// gRPC as used: calls of all four kinds through the whole chain, with the leak
// guard on, at a constant rate; some are wrong on purpose. Every answer, message
// and status is checked; one that is wrong fails the run.

import grpc from 'k6/net/grpc';
import exec from 'k6/execution';
import { check } from 'k6';
import { constantRate, drawn, report } from './rate.js';

const inputs = JSON.parse(open(__ENV.INPUTS));
const client = new grpc.Client();
client.load(['.'], 'echo.proto');

const MESSAGES = 3;
let connected = false;

export const options = constantRate();

// What is called, and in how many of a hundred iterations.
const MIX = [
  [40, unary],
  [10, down],
  [10, up],
  [20, both],
  [5, leak],
  [5, failure],
  [5, wrongKey],
  [5, unknownRoute],
];

export default function () {
  if (!connected) {
    client.connect(inputs.address, { plaintext: true });
    connected = true;
  }
  return drawn(MIX)();
}

function unary() {
  const text = unique();
  const answer = client.invoke('loadtest.Echo/Unary', { text }, params());
  check(answer, {
    'unary: ok': (r) => r.status === grpc.StatusOK,
    'unary: the same message': (r) => r.message !== null && r.message.text === text,
  });
}

function leak() {
  const answer = client.invoke('loadtest.Echo/Leak', { text: 'x' }, params());
  const seen = JSON.stringify([answer.message, answer.headers, answer.trailers]);
  check(answer, {
    'leak: ok': (r) => r.status === grpc.StatusOK,
    'leak: nowhere the secret': () => !seen.includes(inputs.token),
    'leak: masked in message and trailer': () => seen.split('*'.repeat(inputs.token.length)).length >= 3,
  });
}

function failure() {
  const answer = client.invoke('loadtest.Echo/Unary', { text: 'fail' }, params());
  check(answer, {
    'failure: the status of the service': (r) => r.status === grpc.StatusFailedPrecondition,
    'failure: its message': (r) => r.error !== null && r.error.message === 'as asked',
  });
}

function wrongKey() {
  const answer = client.invoke('loadtest.Echo/Unary', { text: 'x' }, params({ 'x-knoxcall-key': `${inputs.key}!` }));
  check(answer, { 'a wrong key: unauthenticated': (r) => r.status === grpc.StatusUnauthenticated });
}

function unknownRoute() {
  const answer = client.invoke('loadtest.Echo/Unary', { text: 'x' }, params({ 'x-knoxcall-route': 'none' }));
  check(answer, { 'an unknown route: refused by a status': (r) => r.status !== grpc.StatusOK && r.status > 0 });
}

function down() {
  const text = unique();
  return streamed('Down', 'down', [text], Array(MESSAGES).fill(text));
}

function up() {
  const texts = Array.from({ length: MESSAGES }, unique);
  return streamed('Up', 'up', texts, texts.slice(-1));
}

function both() {
  const texts = Array.from({ length: MESSAGES }, unique);
  return streamed('Both', 'both', texts, texts);
}

function streamed(method, name, sent, wanted) {
  return new Promise((resolve) => {
    const received = [];
    const errors = [];
    const stream = new grpc.Stream(client, `loadtest.Echo/${method}`, params());
    stream.on('data', (message) => received.push(message.text));
    stream.on('error', (error) => errors.push(error));
    stream.on('end', () => {
      check(received, {
        [`${name}: no error`]: () => errors.length === 0,
        [`${name}: the messages in order`]: () => JSON.stringify(received) === JSON.stringify(wanted),
      });
      resolve();
    });
    for (const text of sent) {
      stream.write({ text });
    }
    stream.end();
  });
}

let counted = 0;

function unique() {
  counted += 1;
  return `${exec.vu.idInTest}-${counted}-${'x'.repeat(counted % 200)}`;
}

function params(more) {
  const metadata = { 'x-knoxcall-key': inputs.key, 'x-knoxcall-route': inputs.route };
  return { metadata: Object.assign(metadata, more), timeout: '10s' };
}

export function handleSummary(data) {
  return report(data, 'grpc_req_duration');
}
