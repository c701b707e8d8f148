// Compiles one Yul or Solidity source from standard input as the project's bytes were made, and prints the creation code.
const solc = require("solc");

const [language, name] = process.argv.slice(2);
const input = {
  language,
  sources: { source: { content: require("fs").readFileSync(0, "utf8") } },
  settings: {
    evmVersion: "london", // no PUSH0
    optimizer: { enabled: true },
    metadata: { bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const failed = (output.errors ?? []).filter((error) => error.severity === "error");
if (failed.length) {
  console.error(failed.map((error) => error.formattedMessage).join("\n"));
  process.exit(1);
}
console.log(output.contracts.source[name].evm.bytecode.object);
