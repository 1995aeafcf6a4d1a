// WebSockets as used: conversations of some messages through the whole chain,
// with the leak guard on, begun at a constant rate; some upgrades are wrong on
// purpose. Every echo is checked; one that is wrong fails the run.

import ws from 'k6/ws';
import exec from 'k6/execution';
import { check } from 'k6';
import { constantRate, drawn, report } from './rate.js';

const inputs = JSON.parse(open(__ENV.INPUTS));
const MESSAGES = 10;
const PATIENCE_MS = 10000;

export const options = constantRate();

// What is begun, and in how many of a hundred iterations.
const MIX = [
  [85, conversation],
  [5, leak],
  [5, wrongKey],
  [5, unknownRoute],
];

export default function () {
  drawn(MIX)();
}

function conversation() {
  const wanted = Array.from({ length: MESSAGES }, (_, n) => `${exec.vu.idInTest}-${n}-${'é'.repeat(n * 37)}`);
  const received = talk(wanted);
  check(received, {
    'conversation: upgraded': (r) => r.status === 101,
    'conversation: no error': (r) => r.error === '',
    'conversation: each message came back': (r) => JSON.stringify(r.texts) === JSON.stringify(wanted),
    'conversation: closed as asked': (r) => r.code === 1000,
  });
}

// The echo says whatever it is told: also the secret, if a client knew it.
function leak() {
  const received = talk([`before ${inputs.token} after`]);
  check(received, { 'leak: masked': (r) => r.texts[0] === `before ${'*'.repeat(inputs.token.length)} after` });
}

function wrongKey() {
  refused(headers({ 'x-knoxcall-key': `${inputs.key}!` }), 401);
}

function unknownRoute() {
  refused(headers({ 'x-knoxcall-route': 'none' }), 404);
}

function refused(sent, status) {
  const answer = ws.connect(`ws://${inputs.address}/socket`, { headers: sent }, (socket) => socket.close());
  check(answer, { [`refused with ${status}`]: (r) => r !== null && r.status === status });
}

// One message at a time, each sent when the one before it has come back.
function talk(messages) {
  const seen = { texts: [], status: 0, error: '', code: 0 };
  const answer = ws.connect(`ws://${inputs.address}/socket`, { headers: headers() }, (socket) => {
    socket.on('open', () => socket.send(messages[0]));
    socket.on('message', (text) => {
      seen.texts.push(text);
      if (seen.texts.length < messages.length) {
        socket.send(messages[seen.texts.length]);
      } else {
        socket.close(1000);
      }
    });
    socket.on('close', (code) => { seen.code = code; });
    socket.on('error', (error) => { seen.error = error.error(); });
    socket.setTimeout(() => socket.close(1001), PATIENCE_MS);
  });
  seen.status = answer.status;
  return seen;
}

function headers(more) {
  return Object.assign({ 'x-knoxcall-key': inputs.key, 'x-knoxcall-route': inputs.route }, more);
}

export function handleSummary(data) {
  return report(data, 'ws_session_duration');
}
