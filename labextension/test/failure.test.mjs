import assert from 'node:assert/strict';
import { test } from 'node:test';

import { NetworkError, responseError } from '../build/api/errors.js';
import { describeFailure } from '../build/model/failure.js';

test('our envelope gives code, line and hint', () => {
  const error = responseError(404, {
    error: 'vm_not_found',
    message: 'There is no machine "nope".',
    reason: 'There is no machine "nope".',
    action: 'See "%vm ls".',
    details: {},
    retryable: false,
    request_id: 'r1'
  });
  assert.equal(error.code, 'vm_not_found');
  assert.equal(error.status, 404);
  assert.deepEqual(describeFailure(error), {
    message: 'There is no machine "nope".',
    hint: 'See "%vm ls".'
  });
});

test("an answer that is not ours is said to be the server's, with what to do", () => {
  const missing = responseError(404, { message: 'Not Found', reason: null });
  assert.equal(missing.code, '');
  assert.match(missing.message, /HTTP 404/);
  assert.match(missing.hint, /jupyter server extension enable jupyter_rmx/);
  assert.match(responseError(403, null).hint, /log in/);
  assert.notEqual(responseError(502, '<html>').hint, '');
});

test('no answer at all is told apart', () => {
  const { message, hint } = describeFailure(new NetworkError('refused'));
  assert.match(message, /does not answer/);
  assert.notEqual(hint, '');
});

test('an error of our own still reads as one line', () => {
  assert.equal(describeFailure(new Error('odd')).message, 'odd');
  assert.equal(describeFailure('odder').message, 'odder');
});
