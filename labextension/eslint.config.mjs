import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/** The floors of src/, from the ground up: a floor may import the ones before it, never the ones after it. */
const FLOORS = [
  'tokens',
  'api',
  'model',
  'components',
  'widgets',
  'plugins',
  'index'
];

/** One rule per floor: what stands above it is out of reach. */
const floorRules = FLOORS.map((floor, level) => ({
  files: [`src/${floor}.ts`, `src/${floor}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: FLOORS.slice(level + 1).map(above => ({
          regex: `^\\.{1,2}/(.*/)?${above}(/|$)`,
          message: `Imports point down only: ${floor} stands below ${above}.`
        }))
      }
    ]
  }
}));

export default tseslint.config(
  { ignores: ['build/', 'lib/', 'node_modules/'] },
  eslint.configs.recommended,
  {
    files: ['src/**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: {
        projectService: true,
        tsconfigRootDir: import.meta.dirname
      }
    },
    rules: {
      curly: 'error',
      eqeqeq: 'error',
      'max-lines': ['error', 300],
      // JupyterLab's tokens are namespaces, and its plugins take optional services as `null`.
      '@typescript-eslint/no-namespace': 'off',
      '@typescript-eslint/naming-convention': [
        'error',
        {
          selector: 'interface',
          format: ['PascalCase'],
          custom: { regex: '^I[A-Z]', match: true }
        }
      ],
      '@typescript-eslint/no-floating-promises': ['error', { ignoreVoid: true }]
    }
  },
  ...floorRules,
  {
    files: ['test/**/*.mjs', '*.mjs'],
    languageOptions: { globals: { URL: 'readonly', console: 'readonly' } }
  }
);
