import { LabIcon } from '@jupyterlab/ui-components';

import portSvg from '../../style/icons/port.svg';

/** A browser window with an arrow: a port of a machine. */
export const portIcon = new LabIcon({
  name: 'jupyter-rmx:port',
  svgstr: portSvg
});
