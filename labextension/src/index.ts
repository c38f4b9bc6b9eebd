import { outputPlugin } from './plugins/output';
import { portsPlugin } from './plugins/ports';

export default [portsPlugin, outputPlugin];
