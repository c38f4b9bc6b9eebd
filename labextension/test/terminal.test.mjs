import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  readTerminal,
  terminalKey,
  terminalLabel
} from '../build/model/terminal.js';

const FIRST = { machine: 'gpu01', name: '1' };

test('arguments name a machine, and perhaps a terminal of it', () => {
  const cases = [
    [{}, null],
    [{ machine: ' ' }, null],
    [{ machine: 1 }, null],
    [{ machine: ' gpu01 ' }, { machine: 'gpu01', name: null }],
    [
      { machine: 'gpu01', name: '' },
      { machine: 'gpu01', name: null }
    ],
    [{ machine: 'gpu01', name: '1' }, FIRST]
  ];
  for (const [args, terminal] of cases) {
    assert.deepEqual(readTerminal(args), terminal);
  }
});

test('a saved layout tells terminals of one machine, and machines, apart', () => {
  assert.equal(terminalKey(FIRST), 'gpu01:1');
});

test('the tab names the machine first, then the title, then what is wrong', () => {
  const title = 'me@node7: ~';
  assert.equal(terminalLabel(FIRST, title, 'connected'), 'gpu01: me@node7: ~');
  assert.equal(
    terminalLabel(FIRST, title, 'connecting'),
    'gpu01: me@node7: ~ (connecting)'
  );
});
