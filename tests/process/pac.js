// SPDX-License-Identifier: Apache-2.0
// Runs PAC files as a browser does: an own context with the helpers of PAC, and nothing else. Reads
// {"files": [text, ...], "cases": [[file, url, host], ...]} from standard input, writes the answers as JSON.
"use strict";
const vm = require("vm");

// What the functions of PAC mean (as browsers have them). The file does not need them; nothing may depend on that.
function helpers() {
  const number = (text) => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return {
    isPlainHostName: (host) => host.indexOf(".") < 0,
    dnsDomainIs: (host, domain) => host.endsWith(domain),
    localHostOrDomainIs: (host, full) => host === full || full.startsWith(host + "."),
    isResolvable: () => { throw new Error("a PAC file must not wait for DNS"); },
    dnsResolve: () => { throw new Error("a PAC file must not wait for DNS"); },
    isInNet: (host, base, mask) => {
      const bits = (text) => number(text) >>> 0;
      return /^[0-9.]+$/.test(host) && ((bits(host) & bits(mask)) >>> 0) === ((bits(base) & bits(mask)) >>> 0);
    },
    myIpAddress: () => { throw new Error("myIpAddress() is not to be relied on"); },
    dnsDomainLevels: (host) => host.split(".").length - 1,
    shExpMatch: (text, glob) => new RegExp("^" + glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".") + "$").test(text),
    weekdayRange: () => true,
    dateRange: () => true,
    timeRange: () => true,
    alert: () => undefined,
  };
}

const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
const contexts = input.files.map((text) => {
  const context = vm.createContext(helpers());
  vm.runInContext(text, context, { timeout: 10000 });
  return context;
});
const began = process.hrtime.bigint();
const answers = input.cases.map(([file, url, host]) =>
  vm.runInContext(`FindProxyForURL(${JSON.stringify(url)}, ${JSON.stringify(host)})`, contexts[file], { timeout: 10000 }));
process.stdout.write(JSON.stringify({ answers, us: Number((process.hrtime.bigint() - began) / 1000n) / (answers.length || 1) }));
