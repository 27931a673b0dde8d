// SPDX-License-Identifier: Apache-2.0
// An origin that speaks HTTP/2, and HTTP/1.1 if "both" is said: PORT CERTIFICATE KEY [both] [websocket]
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const http2 = require('node:http2');

const [port, certificate, key, ...words] = process.argv.slice(2);
const server = http2.createSecureServer({
	cert: fs.readFileSync(certificate), key: fs.readFileSync(key), allowHTTP1: words.includes('both'),
	settings: {enableConnectProtocol: words.includes('websocket')},
});
const sessions = new Set();
server.on('session', session => { sessions.add(session); session.on('close', () => sessions.delete(session)); session.on('error', () => {}); });
server.on('sessionError', () => {});

function sizeOf(path) {
	return Number(path.split('?')[0].split('/')[2] || 0);
}

// Reads all of the content, then says what it was.
function echo(stream, headers, flags) {
	const hash = crypto.createHash('sha256');
	let bytes = 0, trailers = {};
	stream.on('trailers', got => { trailers = got; });
	stream.on('data', data => { hash.update(data); bytes += data.length; });
	stream.on('end', () => {
		stream.respond({':status': 200, 'content-type': 'application/json'});
		stream.end(JSON.stringify({headers: Object.fromEntries(Object.entries(headers)), bytes, sha256: hash.digest('hex'), trailers,
			streams: stream.id, protocol: 'h2'}));
	});
}

const pages = {
	'/bytes': (stream, headers) => { stream.respond({':status': 200}); stream.end(Buffer.alloc(sizeOf(headers[':path']), 'x')); },
	'/trailers': stream => {
		stream.respond({':status': 200}, {waitForTrailers: true});
		stream.on('wantTrailers', () => stream.sendTrailers({'x-sum': 'abc', 'grpc-status': '0'}));
		stream.end('content\n');
	},
	// As gRPC: what comes goes back at once, both directions at the same time, and the status is in the trailers.
	'/grpc': stream => {
		stream.respond({':status': 200, 'content-type': 'application/grpc'}, {waitForTrailers: true});
		stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': '0'}));
		stream.on('data', data => stream.write(data));
		stream.on('end', () => stream.end());
	},
	'/http1': stream => stream.close(http2.constants.NGHTTP2_HTTP_1_1_REQUIRED),
	'/refused': stream => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
	'/cut': stream => { stream.respond({':status': 200, 'content-length': '1000'}); stream.write('half'); setTimeout(() => stream.close(2), 50); },
	'/goaway': stream => {
		stream.session.goaway(0, stream.id);
		stream.respond({':status': 200});
		setTimeout(() => stream.end('last\n'), 50);
	},
	'/slow': stream => { stream.respond({':status': 200}); setTimeout(() => stream.end('slow\n'), 300); },
	'/early-hints': stream => { stream.additionalHeaders({':status': 103, link: '</a.css>; rel=preload'}); stream.respond({':status': 200}); stream.end('final\n'); },
	'/continue': (stream, headers) => { stream.additionalHeaders({':status': 100}); echo(stream, headers); },
	'/fields': stream => { stream.respond({':status': 200, 'strict-transport-security': 'max-age=31536000', 'alt-svc': 'h3=":443"',
		'set-cookie': ['a=1', 'b=2']}); stream.end('ok\n'); },
	'/picture': stream => { stream.respond({':status': 200, 'content-type': 'image/png'}); stream.end('png\n'); },
	'/settings': stream => { stream.respond({':status': 200}); stream.end(JSON.stringify(stream.session.remoteSettings)); },
	'/never-read': stream => { stream.respond({':status': 200}); stream.write('x'); },
	'/ws': stream => stream.close(1),
};

server.on('stream', (stream, headers, flags) => {
	stream.on('error', () => {});
	console.log(`${headers[':method']} ${headers[':authority']} ${headers[':path']} session ${[...sessions].indexOf(stream.session)}`);
	if (headers[':method'] === 'CONNECT' && headers[':protocol'] === 'websocket') {
		stream.respond({':status': 200});
		stream.pipe(stream);
		return;
	}
	const page = pages['/' + headers[':path'].split('?')[0].split('/')[1]] || echo;
	page(stream, headers, flags);
});
if (words.includes('both')) { // node would answer streams, too, and with that send trailers of its own
	server.on('request', (request, response) => {
		if (request.httpVersionMajor === 2)
			return;
		console.log(`${request.method} ${request.headers.host} ${request.url} http1`);
		response.end(JSON.stringify({protocol: 'http/1.1'}));
	});
}
server.listen(Number(port), '127.0.0.1');
