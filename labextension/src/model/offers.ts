import type { ISSHSession } from '../tokens';

/** What is to be done about the offers on the screen. */
export interface IOfferChanges {
  readonly offer: readonly ISSHSession[];
  /** Keys of offers that mean nothing any more. */
  readonly withdraw: readonly string[];
}

/**
 * Which SSH sessions are offered: each host once, until the session has ended, and never again after a "no".
 */
export class Offers {
  /** Compare what is found now with what is offered. */
  update(sessions: readonly ISSHSession[]): IOfferChanges {
    const found = new Map(
      sessions
        .filter(({ machine }) => machine === null)
        .map(session => [session.line, session] as const)
    );
    const withdraw = [...this._offered].filter(line => !found.has(line));
    const offer = [...found.values()].filter(
      ({ line }) => !this._offered.has(line) && !this._declined.has(line)
    );
    withdraw.forEach(line => this._offered.delete(line));
    offer.forEach(({ line }) => this._offered.add(line));
    return { offer, withdraw };
  }

  /** The person does not want this one. */
  decline(line: string): void {
    this._declined.add(line);
    this._offered.delete(line);
  }

  private readonly _offered = new Set<string>();
  private readonly _declined = new Set<string>();
}
