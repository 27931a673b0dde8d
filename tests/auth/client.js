// SPDX-License-Identifier: Apache-2.0
// As undici's ProxyAgent does it: CONNECT with Connection: close, and credentials unasked. PORT HOST:PORT USER:PASSWORD.
const http = require('http');
const [port, target, credentials] = process.argv.slice(2);
const request = http.request({host: '127.0.0.1', port, method: 'CONNECT', path: target, agent: false, headers: {
	connection: 'close', 'proxy-authorization': 'Basic ' + Buffer.from(credentials).toString('base64')}});
request.on('connect', (response, socket) => {
	console.log('connect', response.statusCode);
	if (response.statusCode !== 200)
		process.exit(0);
	socket.write('GET /a HTTP/1.1\r\nHost: ' + target + '\r\nConnection: close\r\n\r\n');
	socket.on('data', data => console.log(data.toString()));
	socket.on('end', () => process.exit(0));
});
request.on('error', error => console.log('error', error.message));
request.end();
