// What the scenarios share: a constant rate of arrivals, a draw among what may
// be sent, and the summary that tells each check's count.

export function constantRate() {
  return {
    scenarios: {
      mix: {
        executor: 'constant-arrival-rate',
        rate: Number(__ENV.RATE),
        timeUnit: '1s',
        duration: `${__ENV.SECONDS}s`,
        preAllocatedVUs: 32,
        maxVUs: 256,
      },
    },
    thresholds: {
      checks: ['rate==1'],
      dropped_iterations: ['count==0'],
    },
    summaryTrendStats: ['min', 'med', 'p(90)', 'p(99)', 'max'],
  };
}

// Of [share of a hundred, act].
export function drawn(mix) {
  let draw = Math.random() * 100;
  for (const [share, act] of mix) {
    if (draw < share) {
      return act;
    }
    draw -= share;
  }
  return mix[0][1];
}

export function report(data, trend) {
  const values = (data.metrics[trend] || { values: {} }).values;
  const figures = Object.entries(values).map(([k, v]) => `${k} ${v.toFixed(2)}`).join(', ');
  const lines = ['']
    .concat(data.root_group.checks.map((c) => `${c.fails ? 'FAIL' : 'ok  '} ${c.name}: ${c.passes} of ${c.passes + c.fails}`))
    .concat(`${trend} ms: ${figures}`, '');
  return { stdout: lines.join('\n'), [__ENV.SUMMARY]: JSON.stringify(data, null, 1) };
}
