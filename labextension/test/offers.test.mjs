import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Offers } from '../build/model/offers.js';

const session = (line, machine = null, terminal = '1') => ({
  terminal,
  destination: line.slice(4),
  line,
  machine
});
const A = session('ssh a');
const B = session('ssh b');

test('a host is offered once, however many terminals show it', () => {
  const offers = new Offers();
  const twice = session('ssh a', null, '2');
  assert.deepEqual(
    offers.update([A, twice, B]).offer.map(({ line }) => line),
    ['ssh a', 'ssh b']
  );
  assert.deepEqual(offers.update([A, B]), { offer: [], withdraw: [] });
});

test('an offer is withdrawn with its session, or when the host is attached, and may come again', () => {
  const offers = new Offers();
  offers.update([A, B]);
  assert.deepEqual(offers.update([session('ssh a', 'gpu01')]), {
    offer: [],
    withdraw: ['ssh a', 'ssh b']
  });
  assert.deepEqual(offers.update([A]).offer, [A]);
});

test('what was declined is not offered again', () => {
  const offers = new Offers();
  offers.update([A]);
  offers.decline('ssh a');
  assert.deepEqual(offers.update([A]), { offer: [], withdraw: [] });
  assert.deepEqual(offers.update([]), { offer: [], withdraw: [] });
  assert.deepEqual(offers.update([A]), { offer: [], withdraw: [] });
});
