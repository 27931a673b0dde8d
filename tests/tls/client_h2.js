// SPDX-License-Identifier: Apache-2.0
// A client of HTTP/2 through a proxy: PROXY_PORT AUTHORITY CA_FILE TASK [WORD...]. Says what happened in one line of JSON.
'use strict';
const fs = require('node:fs');
const http2 = require('node:http2');
const net = require('node:net');
const tls = require('node:tls');

const [proxyPort, authority, caFile, task, ...words] = process.argv.slice(2);
const host = authority.split(':')[0];

function connect() {
	return new Promise((resolve, reject) => {
		const socket = net.connect(Number(proxyPort), '127.0.0.1', () => socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`));
		let head = '';
		socket.on('error', reject);
		socket.on('data', function read(data) {
			head += data.toString('latin1');
			if (!head.includes('\r\n\r\n'))
				return;
			socket.removeListener('data', read);
			if (!head.startsWith('HTTP/1.1 200'))
				return reject(new Error(head));
			const secure = tls.connect({socket, servername: host, ALPNProtocols: ['h2'], ca: fs.readFileSync(caFile)}, () => {
				if (secure.alpnProtocol !== 'h2')
					return reject(new Error(`ALPN: ${secure.alpnProtocol}`));
				resolve(http2.connect(`https://${authority}`, {createConnection: () => secure, settings: {initialWindowSize: 1 << 20}}));
			});
			secure.on('error', reject);
		});
	});
}

// One request; all that came of it.
function ask(session, headers, send, options) {
	return new Promise(resolve => {
		const seen = {interim: [], body: '', bytes: 0, trailers: null, status: null, code: 0};
		const stream = session.request({':path': '/', ...headers}, options);
		stream.on('headers', got => seen.interim.push(got[':status']));
		stream.on('response', got => { seen.status = got[':status']; seen.headers = got; });
		stream.on('trailers', got => { seen.trailers = got; });
		stream.on('data', data => { seen.bytes += data.length; if (seen.bytes < 100000) seen.body += data.toString('latin1'); });
		stream.on('error', error => { seen.error = error.code || error.message; });
		stream.on('close', () => { seen.code = stream.rstCode; resolve(seen); });
		if (send)
			send(stream, seen);
		else
			stream.end();
	});
}

const tasks = {
	get: session => ask(session, {':path': words[0]}),
	post: session => ask(session, {':path': words[0], ':method': 'POST'}, stream => stream.end(Buffer.alloc(Number(words[1]), 'y'))),
	trailers: session => ask(session, {':path': '/echo', ':method': 'POST', te: 'trailers'}, stream => {
		stream.on('wantTrailers', () => stream.sendTrailers({'x-mine': 'yes'}));
		stream.end('content');
	}, {waitForTrailers: true}),
	// Each message goes out when the one before has come back.
	grpc: session => ask(session, {':path': '/grpc', ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers'}, (stream, seen) => {
		seen.turns = 0;
		const next = () => (seen.turns++ < 50 ? stream.write(Buffer.alloc(100, 'g')) : stream.end());
		let pending = 0;
		stream.on('data', data => { pending += data.length; if (pending >= 100) { pending -= 100; next(); } });
		next();
	}),
	many: async session => Promise.all(Array.from({length: Number(words[1])}, (_, number) => ask(session, {':path': `${words[0]}?${number}`}))),
	continue: session => ask(session, {':path': '/continue', ':method': 'POST', expect: '100-continue'}, (stream, seen) => {
		stream.on('continue', () => { seen.continued = true; stream.end('content'); });
	}),
	websocket: session => new Promise(resolve => session.once('remoteSettings', async settings => {
		if (!settings.enableConnectProtocol)
			return resolve({offered: false});
		const seen = await ask(session, {':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':path': '/ws', ':authority': authority,
			'sec-websocket-version': '13'}, (stream, got) => {
			got.offered = true;
			stream.on('response', () => stream.write(Buffer.alloc(Number(words[0]), 'w')));
			stream.on('data', () => { if (got.bytes >= Number(words[0])) stream.end(); });
		}, {endStream: false});
		resolve(seen);
	})),
	authority: session => ask(session, {':path': words[0], ':authority': words[1]}),
	cancel: async session => {
		const first = ask(session, {':path': '/never-read'}, stream => { stream.end(); setTimeout(() => stream.close(8), 100); });
		return [await first, await ask(session, {':path': '/echo'})];
	},
	goaway: async session => {
		const all = await Promise.all([ask(session, {':path': '/slow'}), ask(session, {':path': '/goaway'})]);
		return {all, closed: session.closed || session.destroyed};
	},
};

connect().then(async session => {
	session.on('error', error => console.error(String(error)));
	const said = await tasks[task](session);
	console.log(JSON.stringify(said));
	session.close();
	setTimeout(() => process.exit(0), 200).unref();
}).catch(error => { console.log(JSON.stringify({failed: String(error.message || error)})); process.exit(0); });
