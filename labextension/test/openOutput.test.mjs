import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readOpenOutput } from '../build/model/openOutput.js';

const PAYLOAD = {
  version: 1,
  machine: 'demo',
  machine_id: 'vm_1',
  port: 8000,
  path: '/',
  shown: 'http://localhost:8000/',
  open_id: 'open_1'
};

test('the payload of %vm open is understood', () => {
  assert.deepEqual(readOpenOutput(PAYLOAD), {
    machine: 'demo',
    port: 8000,
    path: '/',
    shown: 'http://localhost:8000/',
    openId: 'open_1'
  });
});

test('without a shown address there is a plain one', () => {
  const output = readOpenOutput({ ...PAYLOAD, shown: undefined });
  assert.equal(output.shown, 'http://localhost:8000/');
});

test('anything else is refused', () => {
  const refused = [
    null,
    undefined,
    'text',
    [],
    {},
    { ...PAYLOAD, version: 2 },
    { ...PAYLOAD, machine: null },
    { ...PAYLOAD, port: '8000' },
    { ...PAYLOAD, path: '//evil.example/' },
    { ...PAYLOAD, open_id: '' },
    { ...PAYLOAD, open_id: 3 }
  ];
  for (const data of refused) {
    assert.equal(readOpenOutput(data), null, JSON.stringify(data));
  }
});
