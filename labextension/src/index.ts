import { outputPlugin } from './plugins/output';
import { portsPlugin } from './plugins/ports';
import { terminalsPlugin } from './plugins/terminals';

export default [portsPlugin, outputPlugin, terminalsPlugin];
