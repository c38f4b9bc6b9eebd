import { outputPlugin } from './plugins/output';
import { portsPlugin } from './plugins/ports';
import { terminalsPlugin } from './plugins/terminals';
import { workspacesPlugin } from './plugins/workspaces';

export default [portsPlugin, outputPlugin, terminalsPlugin, workspacesPlugin];
