import be8.ApiClient;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.BeanDescription;
import com.fasterxml.jackson.databind.DeserializationConfig;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonDeserializer;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.deser.BeanDeserializerModifier;
import com.fasterxml.jackson.databind.deser.std.DelegatingDeserializer;
import com.fasterxml.jackson.databind.introspect.BeanPropertyDefinition;
import com.fasterxml.jackson.databind.module.SimpleModule;
import java.io.IOException;
import java.util.List;

/**
 * Reads answers as the document says: with every required member and none more. The generated unions take what can be read
 * as exactly one of their parts, and without this almost everything can be read as each.
 */
final class Strict extends BeanDeserializerModifier {
  static ObjectMapper mapper() {
    SimpleModule module = new SimpleModule().setDeserializerModifier(new Strict());
    ObjectMapper mapper = ApiClient.createDefaultObjectMapper().registerModule(module);
    return mapper.enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
  }

  @Override
  public JsonDeserializer<?> modifyDeserializer(
      DeserializationConfig config, BeanDescription bean, JsonDeserializer<?> deserializer) {
    List<String> required = bean.findProperties().stream()
        .filter(BeanPropertyDefinition::isRequired).map(BeanPropertyDefinition::getName).toList();
    return required.isEmpty() ? deserializer : new Whole(deserializer, required);
  }

  private static final class Whole extends DelegatingDeserializer {
    private final List<String> required;

    Whole(JsonDeserializer<?> delegate, List<String> required) {
      super(delegate);
      this.required = required;
    }

    @Override
    protected JsonDeserializer<?> newDelegatingInstance(JsonDeserializer<?> delegate) {
      return new Whole(delegate, required);
    }

    @Override
    public Object deserialize(JsonParser parser, DeserializationContext context) throws IOException {
      JsonNode tree = context.readTree(parser);
      for (String name : required) {
        if (!tree.has(name)) {
          throw JsonMappingException.from(parser, name + " is missing");
        }
      }
      JsonParser again = tree.traverse(parser.getCodec());
      again.nextToken();
      return super.deserialize(again, context);
    }
  }
}
