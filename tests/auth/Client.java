// SPDX-License-Identifier: Apache-2.0
import java.net.*;
import java.net.http.*;

/** Java's two HTTP clients through a proxy: Client old|new URL PROXY_HOST PROXY_PORT USER PASSWORD. Prints the status. */
public class Client {
	public static void main(String[] args) throws Exception {
		String url = args[1], user = args[4], password = args[5];
		InetSocketAddress address = new InetSocketAddress(args[2], Integer.parseInt(args[3]));
		Authenticator authenticator = new Authenticator() {
			int asked = 0;

			@Override
			protected PasswordAuthentication getPasswordAuthentication() {
				return user.isEmpty() || asked++ > 0 ? null : new PasswordAuthentication(user, password.toCharArray());
			}
		};
		if (args[0].equals("old")) {
			Authenticator.setDefault(authenticator);
			HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection(new Proxy(Proxy.Type.HTTP, address));
			try {
				System.out.println("status " + connection.getResponseCode());
			} catch (java.io.IOException e) {
				System.out.println("failed " + e.getMessage());
			}
			return;
		}
		HttpClient client = HttpClient.newBuilder().proxy(ProxySelector.of(address)).authenticator(authenticator).build();
		try {
			System.out.println("status " + client.send(HttpRequest.newBuilder(URI.create(url)).build(),
				HttpResponse.BodyHandlers.ofString()).statusCode());
		} catch (java.io.IOException e) {
			System.out.println("failed " + e.getMessage());
		}
	}
}
