package javax.annotation;

/** What the generated classes are marked with. Projects have it from `javax.annotation-api`. */
public @interface Generated {
  String[] value();

  String date() default "";

  String comments() default "";
}
