// What java.net.http.HttpClient does with the service by default, which is to offer an upgrade to HTTP/2.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

public class Visit {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static final List<Integer> STATUSES = new ArrayList<>();
    private static String url;
    private static String token;

    public static void main(String[] given) throws Exception {
        url = given[0];
        String name = given[1];
        String signIn = "{\"username\":\"" + given[2] + "\",\"password\":\"" + given[3] + "\"}";
        var access = Pattern.compile("\"access_token\":\"([^\"]+)\"").matcher(ask("POST", "/auth", null, signIn).body());
        access.find();
        token = access.group(1);
        String product = "{\"product_id\":\"" + name + "\",\"name\":\"" + name
            + "\",\"price\":{\"amount\":999,\"currency\":\"EUR\"}}";
        ask("POST", "/products", null, product);
        String tag = ask("GET", "/products/" + name, null, "").headers().firstValue("ETag").get();
        ask("POST", "/products", null, product);
        ask("PATCH", "/products/" + name, tag, "{\"stock\":1}");
        ask("PATCH", "/products/" + name, tag, "{\"stock\":2}");
        System.out.println(STATUSES);
    }

    private static HttpResponse<String> ask(String method, String path, String tag, String body) throws Exception {
        var publisher = body.isEmpty() ? BodyPublishers.noBody() : BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(url + path))
            .header("Content-Type", "application/json").method(method, publisher);
        if (token != null) request.header("Authorization", "Bearer " + token);
        if (tag != null) request.header("If-Match", tag);
        var response = CLIENT.send(request.build(), BodyHandlers.ofString());
        STATUSES.add(response.statusCode());
        return response;
    }
}
