import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  isSamePort,
  parsePort,
  pathOf,
  readAddress,
  shownURL,
  tabLabel,
  windowURL
} from '../build/model/address.js';

const DEMO = { machine: 'demo', port: 8000, path: '/' };

test('a typed port is 1 to 65535 in plain digits', () => {
  const cases = [
    ['1', 1],
    ['8000', 8000],
    [' 65535 ', 65535],
    ['0', null],
    ['65536', null],
    ['080', null],
    ['-1', null],
    ['8e3', null],
    ['0x10', null],
    ['8000.0', null],
    ['٨٠٠٠', null],
    ['', null]
  ];
  for (const [typed, expected] of cases) {
    assert.equal(parsePort(typed), expected, `typed: "${typed}"`);
  }
});

test('arguments that name a machine and a port are an address', () => {
  assert.deepEqual(readAddress({ machine: ' demo ', port: 8000 }), DEMO);
  assert.deepEqual(readAddress({ ...DEMO, path: '/a?b#c', extra: 1 }), {
    ...DEMO,
    path: '/a?b#c'
  });
});

test('arguments that lack a part, or would lead elsewhere, are none', () => {
  const refused = [
    {},
    { port: 8000 },
    { machine: '', port: 8000 },
    { machine: 7, port: 8000 },
    { machine: 'demo', port: '8000' },
    { machine: 'demo', port: 0 },
    { machine: 'demo', port: 65536 },
    { machine: 'demo', port: 80.5 },
    { machine: 'demo', port: 8000, path: 'a' },
    { machine: 'demo', port: 8000, path: '//evil.example' },
    { machine: 'demo', port: 8000, path: '/\\evil.example' },
    { machine: 'demo', port: 8000, path: 'http://evil.example' }
  ];
  for (const args of refused) {
    assert.equal(readAddress(args), null, JSON.stringify(args));
  }
});

test('a tab stands for a machine and a port, whatever the path', () => {
  assert.equal(tabLabel(DEMO), 'demo:8000');
  assert.ok(isSamePort(DEMO, { ...DEMO, path: '/other' }));
  assert.ok(!isSamePort(DEMO, { ...DEMO, port: 8001 }));
  assert.ok(!isSamePort(DEMO, { ...DEMO, machine: 'demo2' }));
});

test('what is saved holds no query and no fragment', () => {
  assert.equal(pathOf({ ...DEMO, path: '/a/b?token=s#t' }), '/a/b');
  assert.equal(pathOf({ ...DEMO, path: '/a#t?x\ny' }), '/a');
});

test('addresses for people and for the window', () => {
  const deep = { ...DEMO, path: '/a?b=1' };
  assert.equal(shownURL(deep), 'http://localhost:8000/a?b=1');
  assert.equal(
    windowURL('http://localhost:8888/user/ada/', deep),
    'http://localhost:8888/user/ada/rmx/open/demo/8000/a?b=1'
  );
  assert.equal(
    windowURL('/', { ...DEMO, machine: 'a/../b' }),
    '/rmx/open/a%2F..%2Fb/8000/'
  );
});
